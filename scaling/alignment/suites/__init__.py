"""Benchmarks by name: simulated, published, human importance maps, and anyone's own files."""
