"""Weights on disk and the state that a run resumes from, in safetensors."""
