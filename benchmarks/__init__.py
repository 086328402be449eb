"""Speed and scale, measured beside their floor in the same run. Run by hand, never by tests."""

from faces.usage_reports import turn_off

turn_off()
