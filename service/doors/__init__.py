"""Decides, after a decision, whether a door opens, and opens it: denied unless a rule allows it."""
