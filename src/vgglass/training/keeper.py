"""Who sees to it that a run can go on: saves its state when that is due, and before it leaves on a signal."""

from pathlib import Path
from typing import TYPE_CHECKING

from vgglass.errors import InterruptedRunError, TrainingError
from vgglass.signals import Interruption
from vgglass.training import checkpoint
from vgglass.training.checkpoint import Cadence
from vgglass.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from vgglass.training.loop import Trainer


class Keeper:
    """Checkpoints of a run under `out`: the newest `keep` of those that `cadence` calls for. Rank 0 writes them.

    latest  the newest one that is known to be whole
    """

    def __init__(
        self, out: Path, cadence: Cadence, keep: int, interruption: Interruption, ranks: Ranks = ALONE
    ) -> None:
        self.out, self.cadence, self.keep, self.interruption, self.ranks = out, cadence, keep, interruption, ranks
        self.latest = next(iter(checkpoint.newest_first(out)), None)

    def between_steps(self, trainer: "Trainer") -> None:
        """Save where it is due. Raises InterruptedRunError, after saving, where a signal came."""
        self.heed(trainer)
        if self.cadence.due():
            self.save(trainer, self.keep)

    @property
    def asked_to_leave(self) -> bool:
        return self.interruption.signal is not None

    def heed(self, trainer: "Trainer") -> None:
        """Save and leave where a signal came to any rank. Raises InterruptedRunError on all."""
        signal = self.ranks.agreed(self.interruption.signal)
        if signal:
            self.save(trainer, self.keep)
            self.ranks.wait()  # torchrun ends the rest when the first rank leaves
            progress = trainer.progress
            raise InterruptedRunError(
                signal.name,
                signal,
                f"saved in epoch {progress.epoch + 1} after {progress.step} of its {trainer.steps} steps",
                "go on with the same command"
                if self.ranks.launched
                else f"go on with: vgglass train --out {self.out} --resume",
            )

    def save(self, trainer: "Trainer", keep: int) -> None:
        """Raises TrainingError for weights that are not finite, which nobody could go on from, and on a full disk."""
        for name, value in trainer.weights.state().items():
            if not value.isfinite().all():
                raise TrainingError(
                    f"{name} after epoch {trainer.progress.epoch}, step {trainer.progress.step}",
                    "is not finite; training diverged",
                    f"lower the learning rate; the last good checkpoint: {self.latest or 'none yet'}",
                )
        if self.ranks.first:
            self.latest = checkpoint.save(self.out, trainer.weights, trainer.optimizer, trainer.progress, keep)
