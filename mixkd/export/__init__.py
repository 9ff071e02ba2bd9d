"""Trained networks for other tools: formats, the model card, the Hub."""
