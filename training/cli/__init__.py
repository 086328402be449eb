"""Every command of `python -m training`, and how a command reports errors and progress."""
