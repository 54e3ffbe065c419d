"""Multimodal deepfake detection in JAX and Flax: encoders, fusion, tasks, metrics and statistics."""
