"""EM-like volumes with exact truth."""
