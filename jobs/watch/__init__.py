"""A study while it runs, seen from its folder alone."""
