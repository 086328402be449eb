"""Speed and scale, measured beside their floor in the same run. Run by hand, never by tests."""
