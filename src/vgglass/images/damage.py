"""What the decoders raise, as one sentence."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from vgglass.errors import ImageError

# What the decoders raise on damaged bytes; UserWarning is Pillow's where Python runs with -W error.
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    AssertionError, struct.error, zlib.error, UserWarning,
)  # fmt: skip


@contextmanager
def told(name: str) -> Iterator[None]:
    """Raises ImageError for what the decoders raise."""
    try:
        yield
    except ImageError:  # a ValueError too
        raise
    except MemoryError as error:
        raise ImageError(name, "needs more memory than there is", "make it smaller first") from error
    except Image.DecompressionBombError as error:
        raise ImageError(name, "declares more pixels than Pillow decodes", "make it smaller first") from error
    except DAMAGE as error:
        raise damaged(name, error) from error


def damaged(name: str, reason: object) -> ImageError:
    words = str(reason) or ("unexpected end of file" if isinstance(reason, EOFError) else type(reason).__name__)
    return ImageError(name, f"damaged ({words})", "replace or remove it")
