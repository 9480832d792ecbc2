"""Data: a folder, an idx archive or the embedded digits become samples with labels, in splits."""
