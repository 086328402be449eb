"""Holds the database: tables, repositories and migrations. No other package contains SQL."""
