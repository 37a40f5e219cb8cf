"""Decoded images on a node's disk, mapped by all its processes."""
