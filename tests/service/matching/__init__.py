"""Tests the rules of matching."""
