"""One file a command: what it does, top to bottom."""
