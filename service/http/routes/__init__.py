"""HTTP routes, which only parse requests, call the service and write answers."""
