"""Data-parallel training by several processes (ranks), which torchrun starts.

Rank 0 reads what is global (the data, the record of the run, the checkpoint to resume from) and broadcasts it;
gradients, losses and counts are all-reduced. In a process that torchrun did not start, all of this is the identity.
"""

import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from signal import Signals
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from vgglass import __version__
from vgglass.data.sampling import WHOLE, Share, key
from vgglass.errors import TrainingError, UserError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

TORCHRUN_VARIABLES = ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
RENDEZVOUS_TIMEOUT, POLL_SECONDS = timedelta(minutes=5), 0.02
WORK_TIMEOUT = timedelta(days=7)  # for what one rank does while the others wait: reading a large folder takes hours

Value = TypeVar("Value")
Forward = Callable[[Tensor], Tensor]


class Ranks:
    """A single process: every collective operation is the identity."""

    share = WHOLE
    launched = False

    @property
    def first(self) -> bool:
        """Whether this rank writes and prints."""
        return self.share.rank == 0

    @property
    def count(self) -> int:
        return self.share.ranks

    def broadcast_object(self, make: Callable[[], Value]) -> Value:
        """What `make` returns on rank 0, which alone calls it. On its UserError the other ranks exit silently."""
        return make()

    def local_rank_zero_first(self, work: Callable[[], Value]) -> Value:
        """What `work` returns. Local rank 0 of each machine calls it first, then the others, which find it cached."""
        return work()

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy rank 0's values into these tensors."""

    def all_reduce(self, *numbers: float) -> list[float]:
        """Each number summed over the ranks."""
        return list(numbers)

    def any_signal(self, signal: Signals | None) -> Signals | None:
        """The signal that any rank received, if one did."""
        return signal

    def barrier(self) -> None:
        """Wait until all ranks have come here."""

    def dropout_seed(self, seed: int, step: int) -> int:
        """Different on each rank: images of two ranks must not share dropout masks."""
        return (seed << 32) + step

    def wrap(self, network: nn.Module, forward: Forward, example: Tensor, rounded: bool) -> Forward:
        """`forward`, a way through the network, such that its backward pass averages gradients over the ranks.

        example  a batch of one input
        rounded  all-reduce in bfloat16, with half the bytes
        """
        return forward

    def no_sync(self, model: Forward) -> AbstractContextManager[None]:
        """Inside the block, gradients accumulate on their own rank."""
        return nullcontext()


ALONE = Ranks()


class Group(Ranks):
    """This process among several. `store` is torch's key-value store, which all of them share."""

    launched = True

    def __init__(self, share: Share, local_rank: int, store: "Store") -> None:
        self.share, self._local_rank, self._store = share, local_rank, store
        self._calls = 0

    def broadcast_object(self, make: Callable[[], Value]) -> Value:
        box: list[Any] = [None, None]  # the value, or the status of the error
        self._calls += 1
        if not self.first:
            self._store.wait([f"object {self._calls}"], WORK_TIMEOUT)
            dist.broadcast_object_list(box, src=0)
            if box[1] is not None:
                sys.exit(box[1])  # rank 0 prints why
            return cast(Value, box[0])
        try:
            box[0] = make()
        except UserError as error:
            self._broadcast_box([None, error.exit_status])
            raise
        self._broadcast_box(box)
        return cast(Value, box[0])

    def _broadcast_box(self, box: list[Any]) -> None:
        self._store.set(f"object {self._calls}", "")
        dist.broadcast_object_list(box, src=0)

    def local_rank_zero_first(self, work: Callable[[], Value]) -> Value:
        self._calls += 1
        done = [f"done {self._calls} by {rank}" for rank in range(self.count)]
        if self._local_rank:
            self._store.wait([done[self.share.rank - self._local_rank]], WORK_TIMEOUT)
        result = work()
        self._store.set(done[self.share.rank], "")
        self._store.wait(done, WORK_TIMEOUT)  # for other machines too: the next all-reduce would time out
        return result

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)

    def all_reduce(self, *numbers: float) -> list[float]:
        total = torch.tensor(numbers, dtype=torch.float64)  # on the CPU: gloo sums it, and no GPU has to finish first
        dist.all_reduce(total)
        return [float(number) for number in total]

    def any_signal(self, signal: Signals | None) -> Signals | None:
        largest = torch.tensor(signal or 0)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return Signals(int(largest)) if largest else None

    def barrier(self) -> None:
        self.all_reduce(0)

    def dropout_seed(self, seed: int, step: int) -> int:
        return super().dropout_seed(seed, step) if self.first else key("dropout", seed, step, self.share.rank)

    def wrap(self, network: nn.Module, forward: Forward, example: Tensor, rounded: bool) -> Forward:
        # Each rank has its own running statistics of batch norm; `validate` broadcasts rank 0's, so no step sends them.
        shared = DistributedDataParallel(
            _Forward(network, forward), forward_sync_buffers=False, gradient_as_bucket_view=True, init_sync=False
        )
        shared.register_comm_hook(dist.group.WORLD, _bfloat16_mean if rounded else _mean)
        self._settle_buckets(network, shared, example)
        return shared

    def no_sync(self, model: Forward) -> AbstractContextManager[None]:
        assert isinstance(model, DistributedDataParallel)
        found: AbstractContextManager[None] = model.no_sync()
        return found

    def _settle_buckets(self, network: nn.Module, shared: nn.Module, example: Tensor) -> None:
        """Run one backward pass, after which DistributedDataParallel has its final buckets, and drop the gradients.

        With three ranks or more the buckets decide the order of summation: a resumed run must start with the same.
        """
        network.eval()
        shared(example).sum().backward()
        for parameter in network.parameters():
            parameter.grad = None


@contextmanager
def process_group() -> Iterator[Ranks]:
    """The ranks that torchrun started, or ALONE; a context manager, inside which they can communicate.

    Raises TrainingError where they can't connect, differ in version, have fewer GPUs than there are ranks, and where
    one is lost later.
    """
    if "RANK" not in os.environ:
        yield ALONE
        return
    rank, share, local_rank = _environment()
    backend = _backend(local_rank, share.neighbours)
    torchrun_store = _rendezvous(rank, share.ranks)
    versions = f"vgglass {__version__}, torch {torch.__version__}, {backend}"
    try:
        store = dist.PrefixStore(_common_prefix(torchrun_store, share, versions), torchrun_store)  # type: ignore[attr-defined]
        _require_same_versions(store, share)
        dist.init_process_group(backend, store=store, rank=rank, world_size=share.ranks)
        yield Group(share, local_rank, store)
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"rank {rank}",
            f"lost the others ({reason})",
            "torchrun --max-restarts starts them again, from the checkpoint",
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _environment() -> tuple[int, Share, int]:
    """Rank, share and local rank, from torchrun's variables. Raises TrainingError."""
    rank = os.environ["RANK"]
    if missing := [name for name in TORCHRUN_VARIABLES if not os.environ.get(name)]:
        rule = f"is set, but {', '.join(missing)} not: the ranks have nowhere to meet"
        raise TrainingError(f"RANK={rank}", rule, "start them by torchrun, or unset RANK to train alone")
    count, local, neighbours = (int(os.environ[name]) for name in TORCHRUN_VARIABLES[:3])
    return int(rank), Share(int(rank), count, neighbours), local


def _backend(local_rank: int, neighbours: int) -> str:
    """gloo on CPUs; with GPUs nccl for their tensors and gloo for those on the CPU. Raises TrainingError."""
    if not torch.cuda.is_available():
        return "gloo"
    if torch.cuda.device_count() < neighbours:
        raise TrainingError(
            f"{neighbours} ranks on this machine",
            f"have {torch.cuda.device_count()} GPUs, and each needs one",
            "lower --nproc-per-node, or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on the CPU",
        )
    torch.cuda.set_device(local_rank)
    return "cpu:gloo,cuda:nccl"


def _rendezvous(rank: int, count: int) -> "Store":
    try:
        found: Store = next(rendezvous("env://", rank, count, timeout=RENDEZVOUS_TIMEOUT))[0]
    except dist.DistError as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        remedy = "check that rank 0 is started there and that the port can be reached"
        raise TrainingError(f"rank {rank}", f"did not meet the others at {place} ({error})", remedy) from error
    return found


def _common_prefix(store: "Store", share: Share, versions: str) -> str:
    """A key prefix that is new; each rank writes its `versions` under it. Raises TrainingError.

    torchrun's store survives a restart with all keys of the killed ranks, and each machine counts restarts on its own.
    So each process makes up a unique name, and rank 0's becomes the prefix.
    """
    unique = uuid.uuid4().hex
    if not share.rank:
        _publish_prefix(store, share.ranks, unique)
        store.set(f"{unique}/0", versions)
        return unique
    store.set(f"hello/{share.rank}", unique)
    name = store.get(f"welcome/{unique}").decode()
    store.set(f"{name}/{share.rank}", versions)
    return name


def _publish_prefix(store: "Store", count: int, name: str) -> None:
    """Answer every other rank with the prefix until each has written its versions under it."""
    missing, deadline = set(range(1, count)), time.monotonic() + RENDEZVOUS_TIMEOUT.total_seconds()
    while missing:
        for rank in [*missing]:
            if store.check([f"hello/{rank}"]):  # perhaps of a killed process, which will not read the answer
                store.set(f"welcome/{store.get(f'hello/{rank}').decode()}", name)
            if store.check([f"{name}/{rank}"]):
                missing.remove(rank)
        if missing and time.monotonic() > deadline:
            names = ", ".join(map(str, sorted(missing)))
            raise TrainingError(f"rank {names}", "did not come to the meeting", "see what it said when it was started")
        time.sleep(POLL_SECONDS)


def _require_same_versions(store: "Store", share: Share) -> None:
    """Raises TrainingError where the ranks differ in version or backend."""
    first, *others = (store.get(str(rank)).decode() for rank in range(share.ranks))
    store.set(f"{share.rank} has read", "")
    if share.rank == 0:  # the store ends with it; the others ask nothing more of it before they compare
        store.wait([f"{rank} has read" for rank in range(share.ranks)])
    for rank, other in enumerate(others, 1):
        if other != first:
            raise TrainingError(f"rank {rank}", f"runs {other}, and rank 0 {first}", "install the same on all machines")


class _Forward(nn.Module):
    """`forward` as a module, which is what DistributedDataParallel takes."""

    def __init__(self, network: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.network, self._forward = network, forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(x)


def _mean(group: dist.ProcessGroup, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    return allreduce_hook(group, bucket)


def _bfloat16_mean(group: dist.ProcessGroup, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    """torch's own hook, wrapped: unwrapped, torch refuses it on CPUs, though gloo sums bfloat16 too."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

    return bf16_compress_hook(group, bucket)
