"""Readers of the files that imports take: a package per format, and folders of files."""
