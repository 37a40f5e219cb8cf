"""Accuracy against alignment: correlations, the break, and twins that differ in their objective alone."""
