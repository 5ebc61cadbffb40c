"""Acquisition functions: each a small class in one table, addressed by name with parameters."""
