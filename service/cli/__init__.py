"""Implements the command line `halflight`."""
