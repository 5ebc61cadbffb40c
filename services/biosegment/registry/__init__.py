"""The record: the only SQL owner, and the truth of every job."""
