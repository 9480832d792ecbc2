"""Building blocks of the self-contained HTML pages: shared styles and script, inlined JSON data, thumbnails."""

import base64
import hashlib
import io
import json
import re
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 80
SMALL, SMALL_QUALITY = 64, 95  # pictures up to this side are shown enlarged, which would make JPEG artefacts visible
# Placeholders in templates and their files.
SHARED = {"/*BASE*/": "base.css", "/*UI*/": "ui.js", "/*GEOMETRY*/": "geometry.js"}


def inlined(template: str) -> str:
    """Inline the shared styles and scripts into a page's template; the page's one script exports nothing."""
    for mark, name in SHARED.items():
        text = files("vgglass.web").joinpath(name).read_text(encoding="utf-8")
        template = template.replace(mark, re.sub("^export ", "", text, flags=re.MULTILINE))
    return template


def sealed(page: str) -> str:
    """Insert the SHA-256 of the page's script into its content security policy, so that no other script runs in it.

    Texts and data are inserted elsewhere, as JSON, afterwards.
    """
    script = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return page.replace("/*HASH*/", f"sha256-{digest}")


def filled(page: str, words: Any, facts: Any) -> str:
    """Insert texts and then data into a page; data is inserted last, so that no name in it can act as a placeholder."""
    return page.replace("/*WORDS*/null", _script(words)).replace("/*FACTS*/null", _script(facts))


def _script(value: Any) -> str:
    """Serialise to JSON that is safe in a script element: escaped so that no string can end it or open a tag."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def thumbnail(pixels: NDArray[np.uint8], side: int) -> str:
    """Encode uint8 (H, W, C), downscaled to a longer side of at most `side`, as a JPEG data URI."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    quality = QUALITY if max(picture.size) > SMALL else SMALL_QUALITY
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
