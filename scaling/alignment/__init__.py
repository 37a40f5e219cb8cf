"""Alignment of a model's activations with recordings of the ventral stream. No Ray; torch only where models run."""
