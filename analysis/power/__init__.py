"""What a grid of runs can find out before any of it is trained: the chance of a trend, and of a usable form."""
