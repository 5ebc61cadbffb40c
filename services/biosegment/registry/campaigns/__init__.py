"""Campaigns, their rounds and proposals: the use cases."""
