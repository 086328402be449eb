"""Keys: one master key outside the database, one data key for each subject, wrapped by it."""
