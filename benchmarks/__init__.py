"""Measurements that anyone can repeat: each a package or a script with a target in the Makefile."""
