"""A run directory: identity, writing, reading, provenance."""
