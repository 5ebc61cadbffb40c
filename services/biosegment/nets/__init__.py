"""Architectures, losses, metrics: what training and inference share."""
