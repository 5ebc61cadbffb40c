"""Projects, data sets, label classes, models and segmentations: the use cases."""
