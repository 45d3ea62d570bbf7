"""How the tables came to be, step by step; run by `sigrl.service.database.database` whenever a database is
opened."""
