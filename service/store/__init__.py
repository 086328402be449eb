"""The database: tables, repositories and migrations. All SQL stands here."""
