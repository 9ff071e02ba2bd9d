"""mixkd: mixup-based knowledge distillation, and whether its confidence can be trusted."""

__version__ = "0.1.0"
