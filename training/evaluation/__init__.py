"""Recognition rates with intervals, by condition, and their reports."""
