"""Prediction on Ray: shards of names go to a pool of Ray Data's actors, tables come back, this process writes them.

Workers only read, so that a shard may be computed twice by Ray after a death and its rows are there once all the same.
"""

import io
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgglass import inference, workflows
from vgglass.cluster import job as jobs
from vgglass.cluster import sources
from vgglass.cluster.connection import Node, connected, limit_threads
from vgglass.errors import DataError, InterruptedRunError, ModelFileError, UserError
from vgglass.inference import Prediction, tables
from vgglass.inference.header import model_digest
from vgglass.signals import at_once
from vgglass.workflows.data import report_line

if TYPE_CHECKING:
    from rich.console import Console

    from vgglass.inference.predictor import Predictor

SHARD = 1000  # images: on one core VGG-16 takes a minute for them, which is what a death loses
CAREFUL = 3  # deaths over one shard, after which its images are read one by one, to find the one that kills
BLAMED = 2  # deaths over one image, after which it is left out
ATTEMPTS = 20  # at one shard, as Ray tries for ever


@dataclass(frozen=True)
class Pool:
    """actors of so many cpus and gpus each."""

    actors: int
    cpus: int
    gpus: int

    @classmethod
    def of(cls, nodes: Sequence[Node], actors: int | None, engine: str) -> "Pool":
        """As many actors as there are GPUs that the engine can use, else CPUs; fewer share the CPUs evenly."""
        gpus = sum(node.gpus for node in nodes) if engine in ("auto", "torch") else 0
        wanted = actors or gpus or sum(node.cpus for node in nodes)
        shares = range(max(node.cpus for node in nodes), 1, -1)
        share = next((cpus for cpus in shares if sum(node.cpus // cpus for node in nodes) >= wanted), 1)
        return cls(wanted, share, int(gpus > 0))


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker is to answer.

    bucket   see sources.Images
    threads  of an engine
    digest   of the model that the job began with; '' before it began
    """

    model: str
    top: int
    views: str | None
    engine: str
    precision: str
    bucket: str
    threads: int
    digest: str = ""


class Attempts:
    """An actor that knows how often each shard was begun, and over which of its images workers died."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.reading: dict[int, int] = {}
        self.deaths: Counter[tuple[int, int]] = Counter()

    def begin(self, part: int) -> tuple[int, list[int]]:
        """How often a part was begun before, and the places in it of the images to leave out."""
        if part in self.reading:
            self.deaths[part, self.reading.pop(part)] += 1
        self.begun[part] += 1
        out = [place for (of, place), count in self.deaths.items() if of == part and count >= BLAMED]
        return self.begun[part] - 1, out

    def read(self, part: int, place: int) -> None:
        self.reading[part] = place


class Worker:
    """An actor that holds the model. What it can't do it says in its answers: Ray wraps what is raised.

    attempts  Ray's handle of Attempts
    """

    def __init__(self, how: WorkerOptions, attempts: Any = None) -> None:
        self.how, self.attempts = how, attempts

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        """The table of a shard.

        task  part, names (joined by NUL)
        """
        try:
            table, failed = self.table(self.rows(task["part"], task["names"].split(b"\0")))
        except UserError as error:
            return {"part": task["part"], "table": b"", "failed": 0, "refusal": _packed(error)}
        return {"part": task["part"], "table": table, "failed": failed, "refusal": ""}

    def rows(self, part: int, names: Sequence[bytes]) -> list[Prediction]:
        """The answers of a shard, all at once unless it has killed. Raises UserError."""
        import ray

        deaths, out = ray.get(self.attempts.begin.remote(part))
        if deaths >= ATTEMPTS:
            value = f"{os.fsdecode(names[0])} to {os.fsdecode(names[-1])}"
            rule = f"{deaths} workers died over these images (part {part})"
            raise DataError(value, rule, "give the workers more memory, or look for what kills them")
        if deaths < CAREFUL:
            return self.answers(names)
        rows = []
        for place, name in enumerate(names):
            if place in out:
                [file] = sources.files(self.how.bucket, [name])
                rows.append(Prediction(str(file), error=f"{BLAMED} workers died over it"))
            else:
                ray.get(self.attempts.read.remote(part, place))
                rows += self.answers([name])
        return rows

    def answers(self, names: Sequence[bytes]) -> list[Prediction]:
        """Raises UserError."""
        return list(inference.predict(sources.files(self.how.bucket, names), self.predictor, self.how.top))

    def table(self, rows: Sequence[Prediction]) -> tuple[bytes, int]:
        """Parquet, and how many images could not be read."""
        file = io.BytesIO()
        tables.write_parquet(rows, file, min(self.how.top, len(self.predictor.record.classes)))
        return file.getvalue(), sum(bool(row.error) for row in rows)

    def facts(self) -> dict[str, Any]:
        """What a job's header says of the model and of this way to run it. Raises UserError."""
        record = self.predictor.record
        top = min(self.how.top, len(record.classes))
        return {"model": model_digest(record), "top": top, **self.predictor.settings}

    @cached_property
    def predictor(self) -> "Predictor":
        how = self.how
        limit_threads(how.threads)
        opened = workflows.predictor(how.model, views=how.views, engine=how.engine, precision=how.precision)
        if how.digest and model_digest(opened.record) != how.digest:
            remedy = "put the same file on every machine"
            raise ModelFileError(how.model, "is not the model on this worker that the job began with", remedy)
        return opened


@dataclass(frozen=True)
class JobResult:
    """What a job came to: rows in its folder, images that could not be read, and parts that were made now."""

    rows: int
    failed: int
    made: int


def predict(
    model: str,
    paths: Sequence[str],
    out: Path,
    *,
    address: str,
    top: int = 5,
    views: str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    actors: int | None = None,
    shard: int = SHARD,
    console: "Console | None" = None,
) -> JobResult:
    """Predict on a Ray cluster whatever of a job is missing in its folder.

    model    a model file or an exported graph, at the same absolute path on every machine
    paths    files, folders and manifests that every machine sees, or one address that pyarrow or fsspec opens
    out      the folder of job.json and the parts, which this process alone writes
    address  see `connection.connected`
    views, engine, precision  as `workflows.predictor` takes them; 'auto' is settled on a worker when the job begins
    Raises DataError, UsageError, ModelFileError, MissingExtraError, OSError; InterruptedRunError on SIGINT and SIGTERM.
    """
    images = sources.listed(paths, lambda sentence: report_line(sentence, console))
    with jobs.exclusive(out):
        before = jobs.recorded(out)
        with connected(address) as nodes:
            pool = Pool.of(nodes, actors, engine)
            asked = {
                name: before.get(name, "auto") if value == "auto" else value
                for name, value in {"engine": engine, "precision": precision}.items()
            }
            threads = pool.cpus
            how = WorkerOptions(str(Path(model).absolute()), top, views, **asked, bucket=images.bucket, threads=threads)
            facts = _probed(how, pool)
            job = jobs.Job(images=images.digest(), count=len(images.names), shard=shard, **facts)
            jobs.claim(out, job, before)
            settled = WorkerOptions(
                how.model, job.top, views, job.engine, job.precision, images.bucket, threads, digest=job.model
            )
            if console:
                console.print(f"{pool.actors} workers, {job.engine}, {job.precision}", style="dim")
            return _finished(job, images, out, settled, pool, console)


def _finished(
    job: jobs.Job, images: sources.Images, out: Path, how: WorkerOptions, pool: Pool, console: "Console | None"
) -> JobResult:
    """Make the parts that are missing."""
    from rich.console import Console

    from vgglass.workflows.data import reading_progress

    failed = {part: jobs.failures(out, job, part) for part in job.parts}
    missing = [part for part, count in failed.items() if count is None]
    done = job.count - sum(map(job.size, missing))

    def interrupted(signal: Any) -> InterruptedRunError:
        there = [part for part in job.parts if jobs.place(out, part).exists()]
        kept = f"{sum(map(job.size, there)):,} of {job.count:,} rows are kept in {out}"
        return InterruptedRunError(signal.name, signal, kept, "the same command goes on with what is missing")

    tasks = ({"part": part, "names": b"\0".join(job.names(part, images))} for part in missing)
    with at_once(interrupted), reading_progress(console or Console(stderr=True), "predicting") as progress:
        for answer in _answers(how, list(tasks), pool):
            jobs.write(out, answer["part"], answer["table"])
            failed[answer["part"]] = answer["failed"]
            done += job.size(answer["part"])
            progress(done, job.count)
    return JobResult(done, sum(count or 0 for count in failed.values()), len(missing))


def _answers(how: WorkerOptions, tasks: list[dict[str, Any]], pool: Pool) -> Iterator[dict[str, Any]]:
    """What the workers say of each task, as they come. Raises UserError."""
    import ray.data

    if not tasks:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()
    answers = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(  # a block is a shard, a task of Ray's
        Worker, fn_constructor_args=[how, attempts],
        compute=ray.data.ActorPoolStrategy(size=min(pool.actors, len(tasks))),
        num_cpus=pool.cpus, num_gpus=pool.gpus,
    )  # fmt: skip
    for answer in answers.iter_rows():
        if answer["refusal"]:
            raise _unpacked(answer["refusal"])
        yield answer


def _packed(error: UserError) -> str:
    return json.dumps([error.exit_status, str(error.value), error.rule, error.remedy])


def _unpacked(text: str) -> UserError:
    status, *sentence = json.loads(text)
    error = UserError(*sentence)
    error.exit_status = status
    return error


def _probed(how: WorkerOptions, pool: Pool) -> dict[str, Any]:
    """What a worker makes of the model. Raises UserError."""
    import ray

    def probe() -> "dict[str, Any] | UserError":
        try:
            return Worker(how).facts()
        except UserError as error:
            return error

    found = ray.get(ray.remote(num_cpus=pool.cpus, num_gpus=pool.gpus)(probe).remote())
    if isinstance(found, UserError):
        raise found
    facts: dict[str, Any] = found
    return facts
