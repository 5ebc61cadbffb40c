"""Proposals as files to paint in: written into a folder, and sent back from it."""
