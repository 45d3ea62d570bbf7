"""What the service answers, in types that server and client share. Imports without torch and FastAPI."""
