"""The SQLite or PostgreSQL database: connections, tables and migrations."""
