"""The HTTP data plane: parse, call, respond."""
