"""Tests of what `deploy/` ships, with the real programs and without a container engine."""
