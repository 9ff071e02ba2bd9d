"""A fit from begin to end."""
