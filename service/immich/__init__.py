"""Tags for the photographs of an Immich library."""
