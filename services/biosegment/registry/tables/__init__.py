"""The tables, one file per subject; importing this package registers them all."""
