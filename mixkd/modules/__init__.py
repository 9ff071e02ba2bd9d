"""LightningModules, thin glue, and what they learn by: optimizers, schedules, the tape."""
