"""The configuration: schema, composition, messages, overrides."""
