"""HSST, its baselines and controls: one method, one file."""
