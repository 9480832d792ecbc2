"""Convert weights between vgglass and torchvision, timm and Keras.

Foreign files have little besides weights: the preprocessing of each family is declared in FEEDS, and class names are
passed by the caller. `read_foreign` imports, `to_foreign` exports.
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
