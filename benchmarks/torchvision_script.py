"""What people run to classify a folder: torchvision's VGG-16, Pillow, batches of 16, a CSV. A peer to measure by."""

import csv
import sys
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms
from torchvision.models import vgg16


def main(weights: str, folder: str, out: str) -> None:
    model = vgg16(weights=None)
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.eval()
    preprocess = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    paths = sorted(Path(folder).iterdir())
    with Path(out).open("w", newline="") as file, torch.inference_mode():
        writer = csv.writer(file)
        for start in range(0, len(paths), 16):
            chosen = paths[start : start + 16]
            batch = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in chosen])
            shares, classes = model(batch).softmax(dim=1).max(dim=1)
            writer.writerows(zip(chosen, classes.tolist(), shares.tolist(), strict=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
