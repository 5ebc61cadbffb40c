"""Backups of a home: taken while its platform runs, restored into a new one."""
