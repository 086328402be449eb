"""Data sets, one file each, and prepared sets of aligned crops."""
