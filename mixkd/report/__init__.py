"""From run directories to tables and figures. Needs no torch."""
