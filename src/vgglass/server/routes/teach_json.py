"""A lesson as JSON: lists of one entry an image, so that thousands are small and quick to read."""

from typing import Any

from vgglass.server.lessons import Lessons
from vgglass.teaching import choosing, taught
from vgglass.teaching.folder import Item
from vgglass.teaching.ridge import Features

NEAREST = 5


def state(lessons: Lessons) -> dict[str, Any]:
    """What the page shows. `labels` and `answers` index `classes`; -1 is the tray, or no answer yet."""
    lesson = lessons.classroom.lesson
    learned, folder = lesson.learned, lesson.folder
    index = {name: place for place, name in enumerate(learned.classes)}
    heard = [index[name] for name in learned.heard]
    answered = len(learned.answers) > 0
    items = [*learned.items, *learned.waiting]
    counts = dict.fromkeys(learned.classes, 0)
    for item in items:
        if item.label in counts:
            counts[item.label] += 1
    last = folder.journal.entries[-1] if folder.journal.entries else None
    waiting = len(learned.waiting)
    return {
        "version": lessons.version,
        "current": lessons.current,
        "folder": str(folder.top),
        "classes": [{"name": name, "images": counts[name]} for name in learned.classes],
        "numbers": [item.number for item in items],
        "labels": [index.get(item.label or "", -1) for item in items],
        "digests": [item.digest.hex()[:32] for item in items],
        "answers": [heard[place] for place in learned.answers.tolist()] if answered else [-1] * len(learned.items),
        "shares": [round(share, 3) for share in learned.shares.tolist()],
        "waiting": waiting - sum(item.number in lessons.unreadable for item in learned.waiting),
        "unreadable": {str(number): reason for number, reason in lessons.unreadable.items()},
        "asked": learned.asked,
        "suspects": learned.suspects,
        "unfamiliar": lesson.unfamiliar,
        "accuracy": accuracy(lessons),
        "undo": last and {"what": last.what, **last.about},
    }


def accuracy(lessons: Lessons) -> dict[str, Any] | None:
    found = lessons.classroom.lesson.learned.accuracy
    if found is None:
        return None
    low, high = found.interval
    return {"share": found.right / found.groups, "low": low, "high": high, "groups": found.groups, "known": found.known}


def explained(lessons: Lessons, pool5: Features, label: str | None, item: Item | None = None) -> dict[str, Any]:
    """Probabilities, the map of one class (the likeliest without a label), and the nearest taught images."""
    lesson = lessons.classroom.lesson
    average = pool5.mean(axis=(1, 2))
    close = lesson.nearest(average, NEAREST, item.digest if item else b"")
    found: dict[str, Any] = {
        "number": item and item.number,
        "nearest": [
            {"number": near.number, "digest": near.digest.hex()[:32], "class": near.label, "cosine": cosine}
            for near, cosine in close
        ],
        "answers": [], "map": None, "unfamiliar": None,
    }  # fmt: skip
    if lesson.learned.head is None:
        return found
    shares = choosing.probabilities(lesson.learned.head.logits(average[None]))[0]
    heard = lesson.learned.heard
    chosen = heard.index(label) if label in heard else int(shares.argmax())
    why = taught.why(lesson, pool5, chosen)
    if lesson.familiarity:
        found["unfamiliar"] = bool(lesson.familiarity.distances(average[None])[0] > 1)
    return found | {
        "answers": [{"class": name, "probability": share} for name, share in zip(heard, shares.tolist(), strict=True)],
        "map": {"class": heard[chosen], "scores": why.scores, "logit": why.logit},
    }
