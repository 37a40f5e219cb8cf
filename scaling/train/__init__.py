"""Training: a plain PyTorch loop with exact resume, and the Ray parts that schedule it."""
