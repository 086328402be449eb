"""Rates of comparisons with their intervals, and thresholds from impostor scores."""
