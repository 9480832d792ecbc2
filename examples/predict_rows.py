"""Predict with a model file, and write a row an image to a CSV file.

    python examples/predict_rows.py [MODEL PATH...]

Without arguments: the model of train_and_evaluate.py on the embedded digits' test images, written as PNG files.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import vgglass
from train_and_evaluate import OUT, train_and_evaluate
from vgglass.data import sources

ROWS = Path("runs/rows.csv")


def predict_rows(model: str | Path, paths: Sequence[str | Path]) -> None:
    rows = vgglass.predict(model, paths, top=2)  # files, folders or a manifest; an unreadable file is a row too

    ROWS.parent.mkdir(exist_ok=True)
    with ROWS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "class", "probability", "error"])
        writer.writerows([row.shown, row.label, f"{row.probability:.4f}", row.error] for row in rows)
    print(f"{len(rows)} rows: {ROWS}")
    for row in sorted(rows, key=lambda row: row.probability)[:3]:
        print(f"least certain: {row.shown}: {row.top or row.error}")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        predict_rows(sys.argv[1], sys.argv[2:])
    else:
        best = OUT / "best.safetensors"
        digits = sources.write_images("test", Path("runs/digits"))
        predict_rows(best if best.exists() else train_and_evaluate(), [digits])
