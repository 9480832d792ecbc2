"""What pages that open from disk are made of: shared styles and script, facts as JSON, small pictures."""

import base64
import io
import json
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 80
SMALL, SMALL_QUALITY = 64, 95  # pictures of so many pixels a side are shown enlarged, and artefacts with them
SHARED = {"/*BASE*/": "base.css", "/*UI*/": "ui.js"}  # what stands in a template for which file


def inlined(template: str) -> str:
    """A page's template with the styles and the script that pages share inside it."""
    for mark, name in SHARED.items():
        template = template.replace(mark, files("vgglass.web").joinpath(name).read_text(encoding="utf-8"))
    return template


def filled(page: str, words: Any, facts: Any) -> str:
    """A page with its words and, last of all, its facts: nothing in a name is filled in or is markup."""
    return page.replace("/*WORDS*/null", _script(words)).replace("/*FACTS*/null", _script(facts))


def _script(value: Any) -> str:
    """JSON that may stand in a script element: nothing in a name can end the element or open a tag."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def thumbnail(pixels: NDArray[np.uint8], side: int) -> str:
    """uint8 (H, W, C), its longer side at most `side`, as a JPEG in a data URI."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    quality = QUALITY if max(picture.size) > SMALL else SMALL_QUALITY
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
