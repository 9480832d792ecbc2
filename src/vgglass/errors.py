"""Errors that a person can act on: each names the value, the rule it breaks and the remedy."""

import copyreg
from typing import Any


class UserError(ValueError):
    """A sentence for the person at the keyboard; the command line prints it without a traceback."""

    exit_status = 1

    def __init__(self, value: object, rule: str, remedy: str) -> None:
        self.value, self.rule, self.remedy = value, rule, remedy
        super().__init__(f"{value}: {rule}; {remedy}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors come from other processes too; pickle would call __init__ with the sentence alone."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class UsageError(UserError):
    """An option or argument that can't be right, whatever the data (exit status 2)."""

    exit_status = 2


class DataError(UserError):
    """A folder or data set that can't be trained on, judged or predicted."""


class ImageError(UserError):
    """One image that can't be read."""


class ModelFileError(UserError):
    """A file that is not a vgglass model file, or not one this version reads."""


class WeightsError(UserError):
    """Foreign weights that don't fit, or a download that failed."""


class TrainingError(UserError):
    """A run that can't start, go on or be resumed."""


class MissingExtraError(UserError):
    """A command needs packages that the light install leaves out."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(package, f"needed for {purpose}, is not installed", f"run: pip install 'vgglass[{extra}]'")


class InterruptedRunError(UserError):
    """A run that a signal stopped after its state was saved."""

    def __init__(self, signal_name: str, number: int, where: str, remedy: str) -> None:
        super().__init__(f"interrupted by {signal_name}", where, remedy)
        self.exit_status = 128 + number  # as shells count
