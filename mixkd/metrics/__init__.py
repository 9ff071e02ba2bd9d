"""torchmetrics metrics with a functional core."""
