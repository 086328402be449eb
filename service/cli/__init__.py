"""The command line `halflight`."""
