"""The annotation log: the use cases."""
