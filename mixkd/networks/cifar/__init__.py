"""Networks of the CIFAR literature."""
