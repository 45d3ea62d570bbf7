"""Request and response types shared by server and client. They need neither torch nor FastAPI."""
