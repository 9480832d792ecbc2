"""Evaluation: what a model is worth on images that it has not seen, told honestly."""
