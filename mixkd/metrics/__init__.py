"""torchmetrics metrics with a functional core."""

BINS = 15  # of the ECE, equal widths (the authors' number)
