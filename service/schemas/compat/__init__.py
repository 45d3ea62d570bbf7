"""Requests and answers in the formats of other programs' clients. Unknown fields of a request are ignored,
because these clients send many that concern other services."""
