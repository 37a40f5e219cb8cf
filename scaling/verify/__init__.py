"""Runs that put a law to the test: models near a recommended size at one compute, kept apart from the study's grid."""
