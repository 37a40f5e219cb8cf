"""Training images, nested subsets, stimuli and recordings."""
