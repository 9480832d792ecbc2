"""Speed of a network on this machine: engines and precisions beside eager PyTorch and smaller networks, in one run."""
