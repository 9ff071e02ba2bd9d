"""LightningModules: thin glue between batches, networks, losses and metrics."""
