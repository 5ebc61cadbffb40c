"""The arrays: volumes, regions, named objects."""
