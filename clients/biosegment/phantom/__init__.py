"""A phantom: volumes like electron microscopy of neuropil, with their truth, at any size."""

from biosegment.phantom.generate import Generator, Phantom, generate

__all__ = ["Generator", "Phantom", "generate"]
