"""What identify and verify decided just now, for whoever watches."""
