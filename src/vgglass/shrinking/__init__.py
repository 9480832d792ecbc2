"""Smaller models from trained ones: heads of fewer weights, and the judgement of a child beside its parent."""
