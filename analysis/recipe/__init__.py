"""Recipes: how to spend a compute budget, from fitted laws; crosschecks that assume no law."""
