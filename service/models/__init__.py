"""Model files by pin: where they come from, under which licence, and the bundle they make."""
