"""Alignment of a model's activations with recordings of the ventral stream. Imports no torch and no Ray."""

from scaling.alignment.benchmark import AlignmentResult, Benchmark
from scaling.alignment.suites import (
    BENCHMARKS,
    benchmark_regions,
    build_benchmarks,
    check_benchmark_data,
    check_benchmark_names,
)

__all__ = [
    "BENCHMARKS",
    "AlignmentResult",
    "Benchmark",
    "benchmark_regions",
    "build_benchmarks",
    "check_benchmark_data",
    "check_benchmark_names",
]
