"""The training images nearest to one that is looked at, where the model keeps their features.

Their pictures are those that the run's manifest beside the model file names, as long as a file is still the same.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Request
from fastapi import Path as InPath
from numpy.typing import NDArray
from starlette.responses import Response

from vgglass import web
from vgglass.data import manifest
from vgglass.errors import ImageError
from vgglass.evaluation import report
from vgglass.inference.views import parse
from vgglass.modelfile import ModelFile
from vgglass.server.admission import Service
from vgglass.server.refusals import json_response

FEATURES = "training."  # what the names of a model file's kept features begin with
NEAREST, SIDE = 5, 96  # images, and pixels of each one's longer side


@dataclass(frozen=True)
class Known:
    """A training image: its label, the cosine of its pool5 average and the other's, and its SHA-256."""

    label: int
    cosine: float
    digest: bytes


def add(routes: APIRouter, service: Service) -> None:
    subjects = service.subjects

    @routes.get("/images/{digest}/known", summary="The training images that are nearest")
    async def known(request: Request, digest: Annotated[str, InPath(pattern="^[0-9a-f]{32}$")]) -> Response:
        """`known` is empty for a model that keeps no features; `picture` is null where the file is not at hand."""
        file = subjects.session.file
        found = await subjects.run_on_walk(
            request, digest, lambda walk: nearest(file, walk.views["pool5"].maps.mean(axis=(1, 2)))
        )
        places = await asyncio.to_thread(files_beside, service.models.path) if found else {}
        return json_response(
            {
                "known": [
                    {
                        "class": file.record.classes[each.label],
                        "similarity": each.cosine,
                        "picture": await _picture(service, file, places, each.digest),
                    }
                    for each in found
                ]
            }
        )


def nearest(file: ModelFile, average: NDArray[np.float32], count: int = NEAREST) -> list[Known]:
    """The training images by the cosine of their averages (n, D) and this one (D,), the nearest first."""
    if FEATURES + "features" not in file.attached:
        return []
    order, cosines = report.nearest(average[None], [file.attached[FEATURES + "features"]], count)
    labels, digests = file.attached[FEATURES + "labels"], file.attached[FEATURES + "digests"]
    return [
        Known(int(labels[index]), float(cosine), digests[index].tobytes())
        for index, cosine in zip(order[0], cosines[0], strict=True)
    ]


def files_beside(model: Path) -> Mapping[bytes, Path]:
    """By SHA-256, the files of the run whose folder holds the model file; none without a manifest there."""
    path = model.parent / manifest.OF_A_RUN
    return manifest.files(path) if path.exists() else {}


async def _picture(service: Service, file: ModelFile, places: Mapping[bytes, Path], digest: bytes) -> str | None:
    """A data URI; None for a file that is gone, or is another by now."""
    if digest not in places:
        return None
    try:
        data = await asyncio.to_thread(places[digest].read_bytes)
        if hashlib.sha256(data).digest() != digest:
            return None
        record = file.record
        stacks = await service.decoders.decode(data, record.preprocessing, parse("centre", record))
    except (OSError, ImageError):
        return None
    return web.thumbnail(stacks[0][0], SIDE)
