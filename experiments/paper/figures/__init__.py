"""Figures that only the paper's artefacts draw, one file a kind."""
