"""`python -m mixkd` is `mixkd`."""

from mixkd.cli import main

main()
