"""Checks API keys, and limits requests in flight and the rate of each key."""
