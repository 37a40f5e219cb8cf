"""What a benchmark is of."""

REGIONS = ("V1", "V2", "V4", "IT", "behavior")
SALIENCY = "saliency"  # the region of benchmarks of where a model looks, which is no part of the brain
INPUT = "input"  # stands for a layer in their scores: gradients are those of the model's input
