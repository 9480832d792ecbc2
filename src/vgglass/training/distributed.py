"""The processes that train together: torchrun starts them, and here they meet, tell each other and add up.

What is global (the data, the record of the run, the checkpoint to go on from) rank 0 finds and tells the others; what
a step brings is added up over them. A process that nobody started so is alone, and then nothing here does anything.
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
WORK_TIMEOUT = timedelta(days=7)  # of one rank that does what all wait for: reading a large folder takes hours

Value = TypeVar("Value")
Forward = Callable[[Tensor], Tensor]


class Ranks:
    """One process alone."""

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
        """What `make` gives on rank 0. A UserError there is raised there; the other ranks leave without a word."""
        return make()

    def local_rank_zero_first(self, work: Callable[[], Value]) -> Value:
        """What `work` gives; one rank of each machine does it first, and the others find it done."""
        return work()

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Put rank 0's numbers into these tensors."""

    def all_reduce(self, *numbers: float) -> list[float]:
        """Each number added up over the ranks."""
        return list(numbers)

    def any_signal(self, signal: Signals | None) -> Signals | None:
        """A signal that came to any rank."""
        return signal

    def barrier(self) -> None:
        """Until all ranks have come here."""

    def dropout_seed(self, seed: int, step: int) -> int:
        """Another one on each rank, whose images must not share their masks."""
        return (seed << 32) + step

    def wrap(self, network: nn.Module, forward: Forward, example: Tensor, rounded: bool) -> Forward:
        """`forward` through the network, whose backward pass leaves the mean of all ranks' gradients.

        example  of the input, one of a batch
        rounded  to bfloat16 on their way, half the bytes
        """
        return forward

    def no_sync(self, model: Forward) -> AbstractContextManager[None]:
        """Inside the block gradients stay with their rank, to be added to those of a later part."""
        return nullcontext()


ALONE = Ranks()


class Group(Ranks):
    """This process among the others. `store` holds what they leave for each other by name."""

    launched = True

    def __init__(self, share: Share, local_rank: int, store: "Store") -> None:
        self.share, self._local_rank, self._store = share, local_rank, store
        self._calls = 0

    def broadcast_object(self, make: Callable[[], Value]) -> Value:
        box: list[Any] = [None, None]  # the value, or the status of the error
        self._calls += 1
        if not self.first:
            self._store.wait([f"told {self._calls}"], WORK_TIMEOUT)
            dist.broadcast_object_list(box, src=0)
            if box[1] is not None:
                sys.exit(box[1])  # rank 0 says why
            return cast(Value, box[0])
        try:
            box[0] = make()
        except UserError as error:
            self._broadcast_box([None, error.exit_status])
            raise
        self._broadcast_box(box)
        return cast(Value, box[0])

    def _broadcast_box(self, box: list[Any]) -> None:
        self._store.set(f"told {self._calls}", "")
        dist.broadcast_object_list(box, src=0)

    def local_rank_zero_first(self, work: Callable[[], Value]) -> Value:
        self._calls += 1
        done = [f"done {self._calls} by {rank}" for rank in range(self.count)]
        if self._local_rank:
            self._store.wait([done[self.share.rank - self._local_rank]], WORK_TIMEOUT)
        result = work()
        self._store.set(done[self.share.rank], "")
        self._store.wait(done, WORK_TIMEOUT)  # for other machines too: no all-reduce would have such patience
        return result

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)

    def all_reduce(self, *numbers: float) -> list[float]:
        total = torch.tensor(numbers, dtype=torch.float64)  # on the CPU: gloo adds it up, and no GPU is waited for
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
        # Batch norm's running statistics are rank 0's alone (`same` hands them out), so no step sends them.
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
        """Take the pass after which torch puts gradients into their final buckets, without learning from it.

        With three ranks or more the buckets decide in which order numbers are added: a run that goes on from a
        checkpoint must not begin with other ones than it had.
        """
        network.eval()
        shared(example).sum().backward()
        for parameter in network.parameters():
            parameter.grad = None


@contextmanager
def process_group() -> Iterator[Ranks]:
    """The ranks that torchrun started, or ALONE; a context, in which they can talk.

    Raises TrainingError where they can't meet, are not of one version, have fewer GPUs than there are ranks, and where
    one is lost on the way.
    """
    if "RANK" not in os.environ:
        yield ALONE
        return
    rank, share, local_rank = _environment()
    backend = _backend(local_rank, share.neighbours)
    meeting = _rendezvous(rank, share.ranks)
    mine = f"vgglass {__version__}, torch {torch.__version__}, {backend}"
    try:
        store = dist.PrefixStore(_common_prefix(meeting, share, mine), meeting)  # type: ignore[attr-defined]
        _require_same_versions(store, share)
        dist.init_process_group(backend, store=store, rank=rank, world_size=share.ranks)
        yield Group(share, local_rank, store)
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        said = str(error).splitlines()[0]
        raise TrainingError(
            f"rank {rank}",
            f"lost the others ({said})",
            "torchrun --max-restarts starts them again, from the checkpoint",
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _environment() -> tuple[int, Share, int]:
    """Rank, share and rank on this machine. Raises TrainingError."""
    rank = os.environ["RANK"]
    if missing := [name for name in TORCHRUN_VARIABLES if not os.environ.get(name)]:
        rule = f"is set, but {', '.join(missing)} not: the ranks have nowhere to meet"
        raise TrainingError(f"RANK={rank}", rule, "start them by torchrun, or unset RANK to train alone")
    count, local, neighbours = (int(os.environ[name]) for name in TORCHRUN_VARIABLES[:3])
    return int(rank), Share(int(rank), count, neighbours), local


def _backend(local_rank: int, neighbours: int) -> str:
    """gloo on CPUs; on GPUs nccl for what lies there, gloo for the rest. Raises TrainingError."""
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


def _common_prefix(store: "Store", share: Share, mine: str) -> str:
    """A name that only these processes know; `mine`, what each runs, is then under it. Raises TrainingError.

    torchrun's store outlives a restart with all that the killed ranks left in it, and counts restarts otherwise on each
    machine. What a process asks for under a name of its own was never there before.
    """
    me = uuid.uuid4().hex
    if not share.rank:
        _publish_prefix(store, share.ranks, me)
        store.set(f"{me}/0", mine)
        return me
    store.set(f"hello/{share.rank}", me)
    name = store.get(f"welcome/{me}").decode()
    store.set(f"{name}/{share.rank}", mine)
    return name


def _publish_prefix(store: "Store", count: int, name: str) -> None:
    """Tell every other rank the name of the round until each has left its answer under it."""
    missing, deadline = set(range(1, count)), time.monotonic() + RENDEZVOUS_TIMEOUT.total_seconds()
    while missing:
        for rank in [*missing]:
            if store.check([f"hello/{rank}"]):  # perhaps one of an earlier round, which nobody will look at
                store.set(f"welcome/{store.get(f'hello/{rank}').decode()}", name)
            if store.check([f"{name}/{rank}"]):
                missing.remove(rank)
        if missing and time.monotonic() > deadline:
            names = ", ".join(map(str, sorted(missing)))
            raise TrainingError(f"rank {names}", "did not come to the meeting", "see what it said when it was started")
        time.sleep(POLL_SECONDS)


def _require_same_versions(store: "Store", share: Share) -> None:
    """Raises TrainingError where the ranks run other versions, or some compute on a GPU and some do not."""
    first, *others = (store.get(str(rank)).decode() for rank in range(share.ranks))
    store.set(f"{share.rank} has read", "")
    store.wait([f"{rank} has read" for rank in range(share.ranks)])  # rank 0 takes the store with it when it leaves
    for rank, other in enumerate(others, 1):
        if other != first:
            raise TrainingError(f"rank {rank}", f"runs {other}, and rank 0 {first}", "install the same on all machines")


class _Forward(nn.Module):
    """A way through a network as a module, which is what torch synchronises."""

    def __init__(self, network: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.network, self._way = network, forward

    def forward(self, x: Tensor) -> Tensor:
        return self._way(x)


def _mean(group: dist.ProcessGroup, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    return allreduce_hook(group, bucket)


def _bfloat16_mean(group: dist.ProcessGroup, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    """Torch's own hook by another name: by its own, torch takes it on GPUs alone, though gloo too adds in bfloat16."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

    return bf16_compress_hook(group, bucket)
