"""Experiments: the runs that feed a result, and how it is drawn."""

# What mixkd asks for here, as modules of this package: `Study`, which makes the runs of artefacts,
# and `teachers`, `intro` and `write_parts`, of which a report consists beside what every run has.
STUDY = "paper.study"
REPORT = "paper.report"
