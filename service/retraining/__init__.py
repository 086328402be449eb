"""Retraining and evaluation jobs, uploaded data sets, and enrolled crops as training data."""
