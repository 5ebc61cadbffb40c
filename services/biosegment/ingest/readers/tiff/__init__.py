"""TIFF, of any writer: what its tags and headers say is looked at, nothing is dropped silently."""
