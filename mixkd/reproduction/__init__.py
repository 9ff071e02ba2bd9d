"""Reproducing a paper: which runs an artefact needs, what they cost, and doing what is missing."""
