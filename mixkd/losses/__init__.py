"""Losses: pure functions on logits."""
