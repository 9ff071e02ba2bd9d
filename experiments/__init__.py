"""Experiments: the runs that feed a result, and how it is drawn."""
