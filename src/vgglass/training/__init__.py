"""Training: recipes, the loop with its step readable in place, checkpoints."""
