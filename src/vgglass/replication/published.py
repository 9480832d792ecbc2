"""The paper's Tables 3, 4 and 5 as constants: error rates (%) on ImageNet, never to be mixed with measured ones."""

from dataclasses import dataclass

SOURCE = "Simonyan and Zisserman, arXiv 1409.1556v6, Tables 3 to 5"
DATA = "ImageNet, ILSVRC-2012 validation"


@dataclass(frozen=True)
class Published:
    """One row of the paper.

    train, test  smallest image side S and Q in pixels, as printed
    method       of Table 5: 'dense', 'multi-crop' or 'both'
    top1, top5   errors in per cent
    """

    column: str
    train: str
    test: str
    top1: float
    top5: float
    method: str = ""


TABLE_3 = (
    Published("A", "256", "256", 29.6, 10.4),
    Published("A-LRN", "256", "256", 29.7, 10.5),
    Published("B", "256", "256", 28.7, 9.9),
    Published("C", "256", "256", 28.1, 9.4),
    Published("C", "384", "384", 28.1, 9.3),
    Published("C", "256-512", "384", 27.3, 8.8),
    Published("D", "256", "256", 27.0, 8.8),
    Published("D", "384", "384", 26.8, 8.7),
    Published("D", "256-512", "384", 25.6, 8.1),
    Published("E", "256", "256", 27.3, 9.0),
    Published("E", "384", "384", 26.9, 8.7),
    Published("E", "256-512", "384", 25.5, 8.0),
)
TABLE_4 = (
    Published("B", "256", "224,256,288", 28.2, 9.6),
    Published("C", "256", "224,256,288", 27.7, 9.2),
    Published("C", "384", "352,384,416", 27.8, 9.2),
    Published("C", "256-512", "256,384,512", 26.3, 8.2),
    Published("D", "256", "224,256,288", 26.6, 8.6),
    Published("D", "384", "352,384,416", 26.5, 8.6),
    Published("D", "256-512", "256,384,512", 24.8, 7.5),
    Published("E", "256", "224,256,288", 26.9, 8.7),
    Published("E", "384", "352,384,416", 26.7, 8.6),
    Published("E", "256-512", "256,384,512", 24.8, 7.5),
)
TABLE_5 = (
    Published("D", "256-512", "256,384,512", 24.8, 7.5, "dense"),
    Published("D", "256-512", "256,384,512", 24.6, 7.5, "multi-crop"),
    Published("D", "256-512", "256,384,512", 24.4, 7.2, "both"),
    Published("E", "256-512", "256,384,512", 24.8, 7.5, "dense"),
    Published("E", "256-512", "256,384,512", 24.6, 7.4, "multi-crop"),
    Published("E", "256-512", "256,384,512", 24.4, 7.1, "both"),
)
TABLES = {3: TABLE_3, 4: TABLE_4, 5: TABLE_5}
