from faces.usage_reports import turn_off

turn_off()
