"""Proof after: what a law said of models before they were trained, what came out, and how often it was right."""
