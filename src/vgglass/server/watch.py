"""Whether the images that the server sees have changed since the model's training record."""

import math
import time

from vgglass.drift import Monitor
from vgglass.inference.predictor import Answer, Predictor
from vgglass.server import monitoring
from vgglass.server.monitoring import Metrics

PERIOD = 7 * 24 * 3600.0  # seconds: a false alarm in 5 % of the weeks
ALL = "all"


class Watch:
    """The bets on what the model that serves sees, begun anew each week and by each model; no image is kept."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._predictor: Predictor | None = None
        self._monitor: Monitor | None = None
        self._began, self._told = 0.0, False

    def see(self, predictor: Predictor, answer: Answer) -> None:
        """Settle the bets on one answer; a line in the log when they have won."""
        now = time.monotonic()
        if predictor is not self._predictor or now - self._began >= PERIOD:
            self._monitor = Monitor(predictor.training) if predictor.training else None
            self._predictor, self._began, self._told = predictor, now, False
            self._metrics.drift.clear()
        monitor = self._monitor
        if monitor is None:
            return
        monitor.add(answer.quantities, int(answer.log_probabilities.argmax()))
        for name, evidence in (monitor.evidence | {ALL: monitor.total}).items():
            self._metrics.drift.labels(name).set(evidence / -math.log(monitor.rate))
        if monitor.has_moved and not self._told:
            self._told = True
            found = {name: round(evidence, 1) for name, evidence in monitor.evidence.items()}
            monitoring.log("drift", images=monitor.images, moved=monitor.moved, evidence=found)
