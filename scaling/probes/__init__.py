"""Probes: short trainings that find the rates of a study, in a study of their own."""
