"""What happens around training: records, checkpoints, progress."""
