"""`biosegment demo`: from a raw volume to a segmented one, by the same API as a person's tools."""
