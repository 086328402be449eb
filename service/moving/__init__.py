"""Carries a gallery out of one database and into another: backup, restore, export, import."""
