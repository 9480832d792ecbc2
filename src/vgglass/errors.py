"""User errors: each message has the value, the rule that it violates, and the remedy."""

import copyreg
from typing import Any


class UserError(ValueError):
    """An error that the user can fix; the command line prints it without a traceback."""

    exit_status = 1

    def __init__(self, value: object, rule: str, remedy: str) -> None:
        self.value, self.rule, self.remedy = value, rule, remedy
        super().__init__(f"{value}: {rule}; {remedy}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Support pickling between processes; the default would call __init__ with the message only."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class UsageError(UserError):
    """An option or argument that is invalid whatever the data (exit status 2)."""

    exit_status = 2


class DataError(UserError):
    """A folder or data set that can't be used for training, evaluation or prediction."""


class ImageError(UserError):
    """An image that can't be read."""


class ModelFileError(UserError):
    """A file that is not a vgglass model file, or is of an unsupported version."""


class WeightsError(UserError):
    """Foreign weights that don't fit, or a download that failed."""


class TrainingError(UserError):
    """A training run that can't start, continue or be resumed."""


class MissingExtraError(UserError):
    """A command requires packages that the base install does not include."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(package, f"needed for {purpose}, is not installed", f"run: pip install 'vgglass[{extra}]'")


class InterruptedRunError(UserError):
    """A run that was interrupted by a signal after its state was saved."""

    def __init__(self, signal_name: str, number: int, where: str, remedy: str) -> None:
        super().__init__(f"interrupted by {signal_name}", where, remedy)
        self.exit_status = 128 + number  # the convention of shells
