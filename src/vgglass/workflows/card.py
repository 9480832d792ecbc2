"""The model card beside a model file: written by training, renewed by evaluation, shown by report and server."""

from pathlib import Path
from typing import TYPE_CHECKING

import safetensors

from vgglass import drift, modelfile
from vgglass.inference.predictor import Predictor
from vgglass.modelfile import ModelFile, Record
from vgglass.workflows.models import Model

if TYPE_CHECKING:
    from vgglass.evaluation.card import Subject
    from vgglass.evaluation.metrics import Evaluation
    from vgglass.evaluation.robustness import Robustness

BEST, RUN = "best.safetensors", "run.json"  # of a run's folder


def write_card(model: Path) -> None:
    """Write the cards of a model file that was just trained. Raises DataError for one that can't be renewed."""
    from vgglass.evaluation import card

    card.write(_subject(model, modelfile.load_record(model)), model.parent)


def require_card(folder: Path) -> None:
    """Raises DataError for a card in a run's folder that can't be renewed: before the work, not after it."""
    from vgglass.evaluation import card

    for name in card.FILES.values():
        card.sound(folder / name)


def card_folder(model: Model | Predictor, record: Record) -> Path | None:
    """The folder in which an evaluation renews a model's cards; None where it writes none.

    That is a run's, for its best model, or one that has a card of these weights; any other is not littered. Raises
    DataError for a card that can't be renewed.
    """
    from vgglass.evaluation import card

    if isinstance(model, ModelFile | Predictor) or Path(model).suffix != ".safetensors" or not Path(model).is_file():
        return None
    path = Path(model)
    of_run = path.name == BEST and (path.parent / RUN).is_file()
    found = [text for name in card.FILES.values() if (text := card.sound(path.parent / name)) is not None]
    return path.parent if of_run or any(record.digest in text for text in found) else None


def judged_card(
    model: Model | Predictor,
    record: Record,
    data: str | Path | None,
    evaluation: "Evaluation",
    robustness: "Robustness | None" = None,
) -> dict[str, str]:
    """The cards as HTML by language after an evaluation on `data` (None: the digits), written as `card_folder` says."""
    from vgglass.data.sources import DIGITS
    from vgglass.evaluation import card

    folder = card_folder(model, record)
    subject = _subject(model, record, str(Path(data).resolve()) if data else DIGITS, evaluation, robustness)
    if folder:
        card.write(subject, folder)
    return {lang: card.as_html(card.text_of(subject, lang, folder), below=2) for lang in card.FILES}


def card_page(model: Path, lang: str) -> str | None:
    """The card beside a model file as HTML; None if there is none. Raises DataError for one that can't be read."""
    from vgglass.evaluation import card

    text = card.read(model.with_name(card.FILES[lang]))
    return None if text is None else card.as_html(text)


def has_card(model: Path) -> bool:
    """Whether a card lies beside a model file."""
    from vgglass.evaluation import card

    return all(model.with_name(name).is_file() for name in card.FILES.values())


def _subject(
    model: Model | Predictor,
    record: Record,
    data: str = "",
    evaluation: "Evaluation | None" = None,
    robustness: "Robustness | None" = None,
) -> "Subject":
    from vgglass.evaluation.card import Subject

    if isinstance(model, Predictor):
        return Subject(record.architecture.name, record, model.training is not None, data, evaluation, robustness)
    if isinstance(model, ModelFile):
        known, name = set(model.attached), record.architecture.name
    else:
        known, name = _tensors(Path(model)), Path(model).name
    drifts = any(each.startswith(drift.PREFIX) for each in known)
    return Subject(name, record, drifts, data, evaluation, robustness)


def _tensors(path: Path) -> set[str]:
    """The names of a model file's arrays, by its header; none of a pretrained name or an exported graph."""
    if path.suffix != ".safetensors":
        return set()
    with safetensors.safe_open(path, framework="numpy") as file:
        return set(file.keys())
