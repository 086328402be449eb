"""Subjects as people manage them: their names, search, renaming, merging, erasing many at once."""
