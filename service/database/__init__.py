"""What outlives the process: SQLite or PostgreSQL, its tables and their migrations."""
