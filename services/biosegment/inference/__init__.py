"""Predict a region, score patches, segment whole volumes."""
