"""Audit a folder of images before training: findings by kind, class balance, and leakage between splits."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vgglass import images, locale, names, notebook
from vgglass.data.dataset import SPLITS, effective_numbers
from vgglass.data.duplicates import DuplicateGroups, find_duplicates
from vgglass.data.examination import Facts
from vgglass.data.folder import NO_CLASS, Entry, Survey
from vgglass.errors import ImageError
from vgglass.names import printable
from vgglass.preprocess import Preprocessing, placement

# Kinds that damage training or the score; vgglass check exits with 1 if there are any.
SERIOUS = ("unreadable", "empty-file", "truncated", "damaged", "too-narrow", "label-conflict", "leak")
KINDS = (
    *SERIOUS, "duplicate", "near-duplicate", "imbalance", "class-names", "empty-class", "no-class", "no-image",
    "system-file", "linked-twice", "wrong-suffix", "odd-format", "animated", "odd-mode", "deep", "rotated",
    "extreme-aspect", "large-cut", "small",
)  # fmt: skip
IMBALANCE = 3.0  # size of the largest class divided by that of the smallest


@dataclass(frozen=True)
class Case:
    """One instance of a finding: the images concerned, or the path of another file or folder.

    changes  what distinguishes near duplicates, as keys of the locale's 'copies'
    """

    entries: tuple[Entry, ...] = ()
    detail: str = ""
    path: str = ""
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassBalance:
    """Number of images of one class. effective: see `dataset.effective_numbers`."""

    name: str
    images: int
    effective: float


@dataclass(frozen=True)
class Leakage:
    """How much duplicates in train may inflate the score on a held-out split.

    twins   images of the split with a (near) duplicate of the same class in train
    points  upper bound on the inflation of top-1, in percentage points: every such image is classified correctly
            because it was memorised, and would be misclassified otherwise
    """

    split: str
    images: int
    twins: int

    @property
    def points(self) -> float:
        return 100 * self.twins / self.images


@dataclass(frozen=True)
class Audit:
    """The findings of a survey, for a network with this preprocessing.

    findings  by kind, in the order of KINDS; kinds without a case are omitted
    cuts      share of each readable image that the crop discards
    """

    survey: Survey
    record: Preprocessing
    findings: dict[str, tuple[Case, ...]]
    balance: tuple[ClassBalance, ...]
    flattery: tuple[Leakage, ...]
    cuts: tuple[float, ...]

    @property
    def serious(self) -> bool:
        return any(map(self.is_serious, self.findings))

    @staticmethod
    def is_serious(kind: str) -> bool:
        """Whether findings of this kind damage training or the score."""
        return kind in SERIOUS

    @property
    def ratio(self) -> float | None:
        """Size of the largest training class divided by that of the smallest; None if the smallest is empty."""
        counts = [row.images for row in self.balance]
        return max(counts) / min(counts) if min(counts) else None

    @cached_property
    def readable(self) -> list[Entry]:
        return _readable(self.survey)

    def _repr_html_(self) -> str:
        files, kinds = len(self.survey.entries), locale.words(locale.language(None), "audit")["kinds"]
        rows = {"folder": self.survey.name, "files": files, "readable": len(self.readable)}
        found = ([kinds[kind], len(cases), self.is_serious(kind)] for kind, cases in self.findings.items())
        return notebook.panel("audit", rows, [["finding", "cases", "serious"], *found])

    def as_json(self) -> dict[str, Any]:
        counted = Counter(entry.split for entry in self.readable)
        record = self.record
        return {
            "name": self.survey.name,
            "understood": self.survey.understood,
            "files": len(self.survey.entries),
            "readable": len(self.readable),
            "bytes": sum(entry.facts.size for entry in self.survey.entries),
            "splits": {name: counted[name] for name in (*SPLITS, "all") if counted[name]},
            "formats": dict(Counter(entry.facts.format for entry in self.readable).most_common()),
            "fit": record.fit,
            "resize": record.resize,
            "size": record.size,
            "median_cut": statistics.median(self.cuts) if self.cuts else None,
            "classes": [vars(row) for row in self.balance],
            "class_ratio": self.ratio,
            "flattery": [vars(row) | {"points": row.points} for row in self.flattery],
            "findings": {kind: [self._case_as_json(case) for case in cases] for kind, cases in self.findings.items()},
            "serious": self.serious,
        }

    def _case_as_json(self, case: Case) -> dict[str, Any]:
        found = [{"path": entry.id, "split": entry.split, "class": self.label(entry)} for entry in case.entries]
        return {
            "files": found or [{"path": case.path}] * bool(case.path),
            "detail": case.detail,
            "changes": list(case.changes),
        }

    def label(self, entry: Entry) -> str:
        return "" if entry.label == NO_CLASS else self.survey.classes[entry.label]


def audit(survey: Survey, record: Preprocessing) -> Audit:
    """Audit a survey for a network with this preprocessing. Raises MissingExtraError."""
    readable = _readable(survey)
    duplicates = find_duplicates([entry.facts for entry in readable])
    balance = _class_balance(survey)
    found: dict[str, list[Case]] = {kind: [] for kind in KINDS}
    common_format = usual_format([entry.facts for entry in readable])
    for entry in survey.entries:
        suffix = entry.source.suffix.lower() if isinstance(entry.source, Path) else ""
        for kind, detail in of_file(entry.facts, suffix, common_format, record):
            found[kind].append(Case((entry,), detail))
    for kind, path, detail in strays(survey):
        found[kind].append(Case(path=path, detail=detail))
    found |= _duplicate_cases(readable, duplicates)
    found["imbalance"] = list(_imbalance_cases(balance))
    found["class-names"] = [
        Case(detail=", ".join(spellings)) for spellings in names.group_by_case(survey.classes).values() if spellings[1:]
    ]
    cuts = [cut_away(entry.facts, record) for entry in readable]
    return Audit(
        survey,
        record,
        {kind: tuple(cases) for kind, cases in found.items() if cases},
        balance,
        tuple(_leakage(readable, duplicates)),
        tuple(cut for cut in cuts if cut is not None),
    )


def _duplicate_cases(readable: Sequence[Entry], duplicates: DuplicateGroups) -> dict[str, list[Case]]:
    """Cases of images that are duplicates of each other; groups already reported as conflict or leak are omitted."""
    crossing = {
        "label-conflict": list(duplicates.crossing([str(entry.label) for entry in readable])),
        "leak": list(duplicates.crossing([entry.split for entry in readable])),
    }
    reported = {index for groups in crossing.values() for group in groups for index in group}
    within = {"duplicate": duplicates.copies(), "near-duplicate": duplicates.near()}
    remaining = {kind: [group for group in groups if not reported.issuperset(group)] for kind, groups in within.items()}
    return {
        kind: [
            Case(tuple(readable[index] for index in group), changes=duplicates.changes_in(group)) for group in groups
        ]
        for kind, groups in (crossing | remaining).items()
    }


def _readable(survey: Survey) -> list[Entry]:
    return [entry for entry in survey.entries if not entry.facts.error]


def _class_balance(survey: Survey) -> tuple[ClassBalance, ...]:
    """Class sizes of the training images, or of all images if there is no split."""
    counts = Counter(entry.label for entry in _readable(survey) if entry.split in ("train", "all"))
    images = np.array([counts[label] for label in range(len(survey.classes))])
    rows = zip(survey.classes, images.tolist(), effective_numbers(images).tolist(), strict=True)
    return tuple(ClassBalance(*row) for row in rows)


def _imbalance_cases(balance: Sequence[ClassBalance]) -> Iterator[Case]:
    smallest, largest = (choose(balance, key=lambda row: row.images) for choose in (min, max))
    if largest.images > IMBALANCE * smallest.images:
        yield Case(detail=f"{largest.name}: {largest.images}, {smallest.name}: {smallest.images}")


def _leakage(readable: Sequence[Entry], duplicates: DuplicateGroups) -> Iterator[Leakage]:
    counted = Counter(entry.split for entry in readable)
    joined = [f"{group}-{entry.label}" for group, entry in zip(duplicates.group, readable, strict=True)]
    learned = {key for key, entry in zip(joined, readable, strict=True) if entry.split == "train"}
    for name in ("validation", "test"):
        known = sum(key in learned for key, entry in zip(joined, readable, strict=True) if entry.split == name)
        if known:
            yield Leakage(name, counted[name], known)


# Findings about single files, by kind, each with its detail. The kinds are stable keys; their explanations are in
# locale/.

USUAL_SHARE = 0.9  # share of the images from which a format is the usual one, and any other is reported as odd
EXTREME_ASPECT = 3.0  # ratio of longer to shorter side
LARGE_CUT = 0.6  # share of an image that the crop discards; the default crop discards 49 % of a 3:2 photograph
ORDINARY_MODES = ("L", "RGB", "I;16", "I;16B", "I;16L", "I;16N")  # 16 bits are reported as depth
TRUNCATED = ("truncated", "premature end", "unexpected end")  # wording of the decoders

Found = tuple[str, str]  # kind, detail


def of_file(facts: Facts, suffix: str, usual_format: str, record: Preprocessing) -> Iterator[Found]:
    """Findings about one file. `usual_format` is '' if no format is the usual one."""
    if facts.error:
        yield _unreadable_kind(facts), facts.error
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
    """The format of at least USUAL_SHARE of the readable files; '' if there is none."""
    formats = Counter(found.format for found in facts if not found.error)
    name, count = max(formats.items(), key=lambda item: item[1], default=("", 0))
    return name if count >= USUAL_SHARE * formats.total() else ""


def cut_away(facts: Facts, record: Preprocessing) -> float | None:
    """The share of an image that the crop discards; None if it is too narrow to be resized."""
    try:
        place = placement(facts.height, facts.width, record)
    except ImageError:
        return None
    seen = min(place.rows, record.size) * min(place.columns, record.size)
    return 1 - seen / (place.rows * place.columns)


def strays(survey: Survey) -> Iterator[tuple[str, str, str]]:
    """Kind, path and detail of each file or folder that is not an image of a class."""
    for one in survey.passed_over:
        yield one.kind, printable(one.path), one.detail


def _unreadable_kind(facts: Facts) -> str:
    if facts.sha256 and facts.size == 0:
        return "empty-file"
    return "truncated" if any(sign in facts.error.lower() for sign in TRUNCATED) else "unreadable"
