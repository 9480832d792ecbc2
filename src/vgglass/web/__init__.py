"""What pages that open from disk are made of: facts that may stand in a script, and small pictures inside the page."""

import base64
import io
import json
from typing import Any

from PIL import Image

from vgglass.images import Pixels

QUALITY = 80
SMALL, SMALL_QUALITY = 64, 95  # pictures of so many pixels a side are shown enlarged, and artefacts with them


def script(value: Any) -> str:
    """JSON that may stand in a script element: nothing in a name can end the element or open a tag."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def thumbnail(pixels: Pixels, side: int) -> str:
    """uint8 (H, W, C), its longer side at most `side`, as a JPEG in a data URI."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    quality = QUALITY if max(picture.size) > SMALL else SMALL_QUALITY
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
