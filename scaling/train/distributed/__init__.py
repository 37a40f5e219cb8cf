"""What changes where a run has several workers."""
