"""Near duplicates: planted copies found, kind by kind, beside the perceptual hash alone; pairs that are none; time.

Writes contact sheets of what was reported to build/duplicates, to be looked at.
"""

import io
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from vgglass.data.duplicates import find_duplicates
from vgglass.data.examination import Facts, examined, look
from vgglass.data.folder import image_files

DATA = Path(__file__).parents[2] / "shared" / "data"
FOLDERS = ("hymenoptera", "imagenette-small")
PLANTS = 50
SHEETS = Path("build/duplicates")
REPORTED = 100
MANY = 2500
Picture = Image.Image
# The method before: 64-bit perceptual hash within 12 bits and 8x8 thumbnails within 0.4 of their contrast.
BITS, DIFFERENCE, LEAST_CONTRAST = 12, 0.4, 4.0


def run(folder: Path) -> None:
    files = [path for name in FOLDERS for path in image_files(DATA / name)]
    originals = [found for found in examined(files) if not found.error]
    files = [path for path, found in zip(files, examined(files), strict=True) if not found.error]
    chosen = np.random.default_rng(0).choice(len(files), PLANTS, replace=False)
    SHEETS.mkdir(parents=True, exist_ok=True)
    print(f"{len(files):,} photographs of {' and '.join(FOLDERS)}; {PLANTS} copies a kind\n")
    print(f"{'kind':28}{'hash':>6}{'now':>6}{'false':>7}  said to be")
    shown: list[tuple[Picture, ...]] = []
    for kind, change in KINDS.items():
        generator = np.random.default_rng(1)
        copies = [recompressed(change(opened(files[index]), generator), 90) for index in chosen]
        facts = [*originals, *map(described, copies)]
        true = {(int(index), len(files) + number) for number, index in enumerate(chosen)}
        before = sum(by_hash(facts[one], facts[other]) for one, other in true)
        found = find_duplicates(facts)
        first = {int(content): index for index, content in reversed([*enumerate(found.content)])}
        pairs = [(first[one], first[other]) for one, other in found.pairs.tolist()]
        equal = sum(found.content[one] == found.content[other] for one, other in true)
        said = Counter(changes for pair, changes in zip(pairs, found.changes, strict=True) if pair in true)
        names = ", ".join(f"{' and '.join(changes) or 'a copy'} {count}" for changes, count in said.most_common(3))
        print(f"{kind:28}{before:6}{equal + said.total():6}{len(set(pairs) - true):7}  {names}", flush=True)
        pictures = {len(files) + number: copy for number, copy in enumerate(copies)}
        here = [pair for pair in pairs if pair not in true] + pairs[:5]
        shown += [tuple(pictures.get(index) or opened(files[index]) for index in pair) for pair in here]
    sheet(shown[:REPORTED], SHEETS / "planted.png")
    among_originals(files, originals)
    timed(folder)


def among_originals(files: list[Path], facts: list[Facts]) -> None:
    pairs = find_duplicates(facts).pairs.tolist()
    sheet([(opened(files[one]), opened(files[other])) for one, other in pairs[:REPORTED]], SHEETS / "reported.png")
    print(f"\nreported among the photographs as they are: {len(pairs)} pairs, see {SHEETS}/reported.png")


def timed(folder: Path) -> None:
    """Examine and compare MANY photographs of 512x384 that nobody has examined."""
    files = [path for name in FOLDERS for path in image_files(DATA / name)]
    paths = [folder / f"{number}.jpg" for number in range(MANY)]
    for number, path in enumerate(paths):
        picture = ImageOps.fit(opened(files[number % len(files)]), (512, 384))
        (picture if number < len(files) else picture.rotate(7)).save(path, quality=90)
    start, processor = time.monotonic(), time.process_time()
    facts = examined(paths)
    middle = time.monotonic()
    pairs = find_duplicates(facts).pairs
    end = time.monotonic()
    print(
        f"\n{MANY:,} photographs of 512x384: examined in {middle - start:.1f} s, compared in {end - middle:.1f} s"
        f" ({time.process_time() - processor:.1f} s of this process's processor time), {len(pairs):,} pairs"
    )


def opened(path: Path) -> Picture:
    return Image.fromarray(np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")))


def described(picture: Picture) -> Facts:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return look(buffer.getvalue())


def recompressed(picture: Picture, quality: int) -> Picture:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def cropped(picture: Picture, share: float, down: float = 0.5, across: float = 0.5) -> Picture:
    """Without `share` of each side; down and across from 0 to 1 say where what is left lies."""
    width, height = round(picture.width * (1 - share)), round(picture.height * (1 - share))
    left, top = round((picture.width - width) * across), round((picture.height - height) * down)
    return picture.crop((left, top, left + width, top + height))


def bordered(picture: Picture, share: float, generator: np.random.Generator) -> Picture:
    colour = tuple(int(value) for value in generator.integers(0, 256, 3))
    return ImageOps.expand(picture, round(share * max(picture.size)), colour)


def noisy(picture: Picture, generator: np.random.Generator) -> Picture:
    pixels = np.asarray(picture)
    return Image.fromarray(np.clip(pixels + generator.normal(0, 20, pixels.shape), 0, 255).astype(np.uint8))


TURN = Image.Transpose
KINDS: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "resized to half": lambda picture, generator: picture.resize((picture.width // 2, picture.height // 2)),
    "recompressed at 20": lambda picture, generator: recompressed(picture, 20),
    "blurred by 2 px": lambda picture, generator: picture.filter(ImageFilter.GaussianBlur(2)),
    "noise of 20 levels": noisy,
    "mirrored": lambda picture, generator: ImageOps.mirror(picture),
    "upside down": lambda picture, generator: ImageOps.flip(picture),
    "turned by 90°": lambda picture, generator: picture.transpose(TURN.ROTATE_90),
    "turned by 180°": lambda picture, generator: picture.transpose(TURN.ROTATE_180),
    "turned by 270°": lambda picture, generator: picture.transpose(TURN.ROTATE_270),
    "border of 5 %": lambda picture, generator: bordered(picture, 0.05, generator),
    "border of 10 %": lambda picture, generator: bordered(picture, 0.1, generator),
    "cropped by 10 %": lambda picture, generator: cropped(picture, 0.1),
    "cropped by 10 %, off centre": lambda picture, generator: cropped(picture, 0.1, *generator.random(2)),
    "cropped by 20 %": lambda picture, generator: cropped(picture, 0.2),
    "cropped by 20 %, off centre": lambda picture, generator: cropped(picture, 0.2, *generator.random(2)),
    "contrast": lambda picture, generator: ImageEnhance.Contrast(picture).enhance(generator.choice([0.5, 1.6])),
    "brighter by 30 %": lambda picture, generator: ImageEnhance.Brightness(picture).enhance(1.3),
    "grey": lambda picture, generator: picture.convert("L").convert("RGB"),
    "rotated by 3°": lambda picture, generator: picture.rotate(generator.choice([-3, 3]), Image.Resampling.BICUBIC),
    "negative": lambda picture, generator: ImageOps.invert(picture),
}


def by_hash(one: Facts, other: Facts) -> bool:
    assert one.phash is not None
    assert other.phash is not None
    values = [np.frombuffer(found.thumbnail, np.uint8).reshape(-1, 3).astype(float) for found in (one, other)]
    values = [value - value.mean(axis=0) for value in values]
    contrast = min(np.sqrt((value**2).mean()) for value in values)
    difference = np.sqrt(((values[0] - values[1]) ** 2).mean())
    near = (one.phash ^ other.phash).bit_count() <= BITS
    return bool(near and contrast >= LEAST_CONTRAST and difference <= DIFFERENCE * contrast)


def sheet(pairs: Sequence[tuple[Picture, ...]], path: Path, side: int = 120, across: int = 10) -> None:
    """The pairs of pictures, each beside the other, as one PNG."""
    rows = max(1, -(-len(pairs) // across))
    canvas = Image.new("RGB", (across * (2 * side + 12), rows * (side + 8)), "white")
    for number, pair in enumerate(pairs):
        for place, picture in enumerate(pair):
            small = ImageOps.contain(picture, (side, side))
            canvas.paste(small, (number % across * (2 * side + 12) + place * side, number // across * (side + 8)))
    canvas.save(path)
