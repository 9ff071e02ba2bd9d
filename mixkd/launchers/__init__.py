"""How jobs are run: in this process, in several, one after another or side by side, on SLURM."""
