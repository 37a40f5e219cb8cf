"""A study as a Slurm job."""
