"""Data sets: folders, manifests, idx archives and the embedded digits as labelled samples in splits."""
