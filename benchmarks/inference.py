"""VGG-16 on this CPU: vgglass's engine beside torchvision as everyone runs it, in one run. Random weights."""

import argparse
import statistics
from functools import partial

import numpy as np
import torch
from torchvision.models import vgg16

from timing import seconds
from vgglass.architecture import Architecture
from vgglass.engines.openvino import open_engine
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    record = Preprocessing(224, 256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    file = VGG(Architecture.named("vgg16")).to_file(tuple(map(str, range(1000))), record)
    ours = open_engine(file)
    theirs = vgg16(weights=None).eval()
    print(f"{'batch':>5} {'torchvision':>13} {'vgglass':>13} {'ratio':>7}   (images/s, medians of {runs} turns)")
    for batch in (1, 16):
        images = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8)
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous()
        work = (partial(theirs, tensor), partial(ours, images))
        with torch.inference_mode():
            pairs = [(seconds(work[0]), seconds(work[1])) for _ in range(runs + 1)][1:]
        plain, fast = (batch / statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(one / two for one, two in pairs)
        print(f"{batch:>5} {plain:>13.1f} {fast:>13.1f} {ratio:>7.2f}")


if __name__ == "__main__":
    main()
