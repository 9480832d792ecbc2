"""What there is to say of single files: findings by kind, each with its detail.

The kinds are stable keys; audit.json says in English and Chinese what each means and what vgglass does with such files.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from vgglass import images
from vgglass.data.examination import Facts
from vgglass.data.folder import Survey
from vgglass.data.listing import shown
from vgglass.errors import ImageError
from vgglass.preprocess import Preprocessing, placement

USUAL_SHARE = 0.9  # of the images: then the format that these have is the rule, and another one odd
EXTREME_ASPECT = 3.0  # longer by shorter side
LARGE_CUT = 0.6  # of an image that the crop cuts away; the default crop takes 49 % of a 3:2 photograph
ORDINARY_MODES = ("L", "RGB", "I;16", "I;16B", "I;16L", "I;16N")  # 16 bits are said as depth
TRUNCATED = ("truncated", "premature end", "unexpected end")  # as the decoders put it

Found = tuple[str, str]  # kind, detail


def of_file(facts: Facts, suffix: str, usual_format: str, record: Preprocessing) -> Iterator[Found]:
    """What is wrong or odd with one file. `usual_format` is '' where no format is the rule."""
    if facts.error:
        yield _unreadable(facts), facts.error
        return
    sides = f"{facts.width}×{facts.height}"
    shorter, longer = sorted((facts.height, facts.width))
    if facts.fault:
        yield "damaged", facts.fault
    if facts.format != images.FORMAT_OF.get(suffix, facts.format):
        yield "wrong-suffix", facts.format
    if usual_format and facts.format != usual_format:
        yield "odd-format", facts.format
    if facts.frames > 1:
        yield "animated", f"{facts.frames}"
    if facts.mode not in ORDINARY_MODES and facts.format != "GIF":  # every GIF has a palette
        yield "odd-mode", facts.mode
    if facts.depth > 8:
        yield "deep", f"{facts.depth}"
    if facts.orientation in range(2, 9):
        yield "rotated", f"{facts.orientation}"
    if longer > EXTREME_ASPECT * shorter:
        yield "extreme-aspect", sides
    if shorter < record.size:
        yield "small", sides
    cut = cut_away(facts, record)
    if cut is None:
        yield "too-narrow", sides
    elif cut > LARGE_CUT:
        yield "large-cut", f"{sides}, {cut:.0%}"


def usual_format(facts: Sequence[Facts]) -> str:
    """The format that USUAL_SHARE of the readable files have, or nothing ('')."""
    formats = Counter(found.format for found in facts if not found.error)
    name, count = max(formats.items(), key=lambda item: item[1], default=("", 0))
    return name if count >= USUAL_SHARE * formats.total() else ""


def cut_away(facts: Facts, record: Preprocessing) -> float | None:
    """The share of an image that the crop leaves out; None for one too narrow to be resized."""
    try:
        place = placement(facts.height, facts.width, record)
    except ImageError:
        return None
    seen = min(place.rows, record.size) * min(place.columns, record.size)
    return 1 - seen / (place.rows * place.columns)


def strays(survey: Survey) -> Iterator[tuple[str, str, str]]:
    """Kind, path and detail of what lies in the folder and is no class's image."""
    for one in survey.passed_over:
        yield one.kind, shown(one.path), one.detail


def _unreadable(facts: Facts) -> str:
    if facts.sha256 and facts.size == 0:
        return "empty-file"
    return "truncated" if any(sign in facts.error.lower() for sign in TRUNCATED) else "unreadable"
