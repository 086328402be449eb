"""Kills a service under mixed load, again and again, and looks at what is left."""
