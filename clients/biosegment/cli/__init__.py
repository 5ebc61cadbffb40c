"""`biosegment`: the admin CLI, and the whole platform on one machine."""
