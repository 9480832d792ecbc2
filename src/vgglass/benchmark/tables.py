"""From what was timed to rows: which time is compared with which."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vgglass.architecture import Architecture
from vgglass.benchmark.candidates import PRODUCT, Candidate, Logits
from vgglass.benchmark.report import Row, Table, agreement, speed
from vgglass.benchmark.timing import Times, ratio
from vgglass.engines import Precision

Measured = Mapping[tuple[Candidate, int], Times]  # a candidate and a batch size to its seconds per call
Peaks = Mapping[tuple[str, Precision], float]  # a device and a precision to multiply-adds a second


@dataclass(frozen=True)
class Subject:
    """One model or artifact.

    candidates  on each engine in each precision
    eager       the same layers in eager PyTorch; None without torch
    expected    float32 logits, of the model file that an artifact was made of; None if that is not at hand
    """

    name: str
    architecture: Architecture
    candidates: tuple[Candidate, ...]
    eager: Candidate | None
    expected: Logits | None


def table(subject: Subject, batches: Sequence[int], peaks: Peaks, times: Measured) -> Table:
    """Rows of a subject: eager PyTorch first, then its candidates, each at every batch size."""
    architecture = subject.architecture
    size, parameters = architecture.image_size, architecture.parameters / 1e6
    about = (
        f"{architecture.name}, {size}×{size}, {parameters:,.1f} M parameters,"
        f" {architecture.multiply_adds / 1e9:,.2f} G multiply-adds an image"
    )
    candidates = [*([subject.eager] if subject.eager else []), *subject.candidates]
    rows = [_row(one, batch, subject, peaks, times) for one in candidates for batch in batches]
    return Table(subject.name, about, tuple(rows))


def _row(one: Candidate, batch: int, subject: Subject, peaks: Peaks, times: Measured) -> Row:
    taken = times[one, batch]
    peak = peaks.get((one.device, one.precision))
    reached = batch * subject.architecture.multiply_adds / float(np.median(taken))
    return Row(
        network=subject.name,
        engine=one.engine,
        precision=one.precision,
        speed=speed(taken, batch),
        times_as_quick=ratio(times[subject.eager, batch], taken) if subject.eager else None,
        share_of_peak=reached / peak if peak else None,
        agreement=None if one.logits is None or subject.expected is None else agreement(one.logits, subject.expected),
    )


def peer_rows(peers: Sequence[Candidate], subject: Subject, batches: Sequence[int], times: Measured) -> Iterator[Row]:
    """Rows of other networks, beside the subject on the same engine in the same precision."""
    same = {(one.engine, one.precision): one for one in subject.candidates}
    for peer in peers:
        beside = same.get((peer.engine, peer.precision))
        for batch in batches:
            taken = times[peer, batch]
            quicker = ratio(times[beside, batch], taken) if beside else None
            yield Row(peer.network, peer.engine, peer.precision, speed(taken, batch), quicker)


def peaks_of(products: Sequence[Candidate], batches: Sequence[int], times: Measured) -> Peaks:
    """Multiply-adds a second of products of matrices, each in its quickest round."""
    return {
        (one.device, one.precision): PRODUCT[one.device] ** 3 / min(float(times[one, batch].min()) for batch in batches)
        for one in products
    }
