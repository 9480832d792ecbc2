"""Weights of torchvision, timm and Keras <-> vgglass.

A foreign file holds weights and little else: what a family feeds its networks is declared here, in FEEDS, and the class
names come from the caller. One way in, `read_foreign`, and one way out, `to_foreign`.
"""

from vgglass.weights.conversion import (
    CONVENTIONS,
    Foreign,
    from_foreign,
    model_of,
    pooling_matrix,
    read_foreign,
    to_foreign,
)
from vgglass.weights.families import FAMILIES, FEEDS, PUBLISHED, key_table, preprocessing

__all__ = [
    "CONVENTIONS", "FAMILIES", "FEEDS", "PUBLISHED", "Foreign", "from_foreign", "key_table", "model_of",
    "pooling_matrix", "preprocessing", "read_foreign", "to_foreign",
]  # fmt: skip
