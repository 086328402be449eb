"""`make bench`: every ratio that the project aims at, both sides from one run, as JSON and as tables."""
