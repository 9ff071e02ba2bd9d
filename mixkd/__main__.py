"""`python -m mixkd` is `mixkd`."""

from mixkd.cli import main

if __name__ == "__main__":
    main()
