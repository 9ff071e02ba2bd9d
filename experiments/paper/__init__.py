"""The paper: its printed numbers and claims, how they are judged, and its parts of a report."""
