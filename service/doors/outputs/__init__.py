"""Outputs: what opens a door, at most once for each decision and before its deadline."""
