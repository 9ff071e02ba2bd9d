"""A fit from begin to end: stages, optimizers and schedules, the teacher's tape."""
