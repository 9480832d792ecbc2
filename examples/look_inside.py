"""Look inside one image: every layer's figures, one layer's maps as a picture, and one number's arithmetic.

    python examples/look_inside.py [MODEL IMAGE]

Without arguments: the model of train_and_evaluate.py on one of the embedded digits.
"""

import sys
from pathlib import Path

from train_and_evaluate import OUT, train_and_evaluate
from vgglass import glass
from vgglass.data import sources
from vgglass.glass import sheets

LAYER = "conv2_1"
MAPS = Path("runs/conv2_1.png")


def look_inside(subject: glass.Subject) -> None:
    for layer in glass.walk(subject):  # layer.maps: float32 (C, H, W)
        print(f"{layer.name:8} {layer.shape!s:15} {layer.minimum:9.3f} to {layer.maximum:8.3f}")
        if layer.name == LAYER:
            sheets.save(sheets.grid(layer.maps, LAYER).image, MAPS)

    found = glass.step(subject, LAYER, channel=0, position=(2, 3))  # every term in float64, beside the network's number
    print(f"{LAYER}, channel 0 at row 2, column 3: {found}")
    print(f"the maps of {LAYER}: {MAPS}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        look_inside(glass.open_subject(*sys.argv[1:]))
    else:
        model = OUT / "best.safetensors"
        digit = sources.digits().split("test")[0].source
        look_inside(glass.open_subject(model if model.exists() else train_and_evaluate(), digit))
