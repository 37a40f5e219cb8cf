"""Metrics, their ceilings and their error bars: arrays in, numbers out."""
