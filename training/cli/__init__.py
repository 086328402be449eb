"""The commands of `python -m training`, and how they report errors and progress."""
