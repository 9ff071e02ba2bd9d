"""Data: sources of images, their splits, on-device views, and the module that serves them."""
