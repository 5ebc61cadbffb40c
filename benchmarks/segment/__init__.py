"""Whole-volume segmentation beside the bare network: how fast, how flat, what a block costs."""
