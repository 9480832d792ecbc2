"""Batch prediction on Ray: a pool of Ray Data actors maps shards of names to tables, which this process writes.

Workers have no side effects, so Ray may retry a shard after a worker's death without duplicating rows.
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
from vgglass.engines import ENGINES
from vgglass.errors import DataError, InterruptedRunError, ModelFileError, UserError
from vgglass.inference import Prediction, tables
from vgglass.inference.resume import model_digest
from vgglass.signals import at_once
from vgglass.workflows.data import report_line

if TYPE_CHECKING:
    from rich.console import Console

    from vgglass.inference.predictor import Predictor

SHARD = 1000  # images: a minute of VGG-16 on one core, the most that a worker's death loses
CAREFUL = 3  # worker deaths on a shard after which its images are processed singly, to find the one that crashes it
BLAMED = 2  # worker deaths on an image after which it is skipped
ATTEMPTS = 20  # limit per shard, as Ray retries indefinitely


@dataclass(frozen=True)
class Pool:
    """The number of actors, and the CPUs and GPUs of each."""

    actors: int
    cpus: int
    gpus: int

    @classmethod
    def of(cls, nodes: Sequence[Node], actors: int | None, engine: str) -> "Pool":
        """Default to one actor per GPU if the engine can use them, else per CPU; fewer actors share the CPUs evenly."""
        gpus = sum(node.gpus for node in nodes) if engine == "auto" or ENGINES[engine].gpu else 0
        wanted = actors or gpus or sum(node.cpus for node in nodes)
        shares = range(max(node.cpus for node in nodes), 1, -1)
        share = next((cpus for cpus in shares if sum(node.cpus // cpus for node in nodes) >= wanted), 1)
        return cls(wanted, share, int(gpus > 0))


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker predicts.

    bucket   see sources.Images
    threads  of the engine
    digest   of the model that the job started with; '' before it has started
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
    """Actor that counts how often each shard was started, and which of its images workers died on."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.reading: dict[int, int] = {}
        self.deaths: Counter[tuple[int, int]] = Counter()

    def begin(self, part: int) -> tuple[int, list[int]]:
        """Record a start; return how many there were before, and the indices of the part's images to skip."""
        if part in self.reading:
            self.deaths[part, self.reading.pop(part)] += 1
        self.begun[part] += 1
        out = [place for (of, place), count in self.deaths.items() if of == part and count >= BLAMED]
        return self.begun[part] - 1, out

    def read(self, part: int, place: int) -> None:
        self.reading[part] = place


class Worker:
    """Actor that holds the model. It returns errors in its result, as Ray wraps raised exceptions.

    attempts  Ray handle of the Attempts actor
    """

    def __init__(self, how: WorkerOptions, attempts: Any = None) -> None:
        self.how, self.attempts = how, attempts

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        """Predict a shard; return its table.

        task  part, names (joined by NUL)
        """
        try:
            table, failed = self.table(self.rows(task["part"], task["names"].split(b"\0")))
        except UserError as error:
            return {"part": task["part"], "table": b"", "failed": 0, "refusal": _error_to_json(error)}
        return {"part": task["part"], "table": table, "failed": failed, "refusal": ""}

    def rows(self, part: int, names: Sequence[bytes]) -> list[Prediction]:
        """Predict a shard as one stream, or image by image once workers have died on it. Raises UserError."""
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
        """Return the rows as Parquet, and how many images could not be read."""
        file = io.BytesIO()
        tables.write_parquet(rows, file, min(self.how.top, len(self.predictor.record.classes)))
        return file.getvalue(), sum(bool(row.error) for row in rows)

    def facts(self) -> dict[str, Any]:
        """Return the fields of job.json that depend on the model and its options. Raises UserError."""
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
    """A job's result: rows in its folder, unreadable images, and parts computed in this run."""

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
    """Compute the missing parts of a job on a Ray cluster.

    model    a model file or an exported graph, at the same absolute path on every machine
    paths    files, folders and manifests visible to every machine, or one address that pyarrow or fsspec opens
    out      the folder of job.json and the parts, written by this process only
    address  see `connection.connected`
    views, engine, precision  as `workflows.predictor` takes them; a worker resolves 'auto' when the job starts
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
            facts = _probe_model(how, pool)
            job = jobs.Job(images=images.digest(), count=len(images.names), shard=shard, **facts)
            jobs.claim(out, job, before)
            resolved = WorkerOptions(
                how.model, job.top, views, job.engine, job.precision, images.bucket, threads, digest=job.model
            )
            if console:
                console.print(f"{pool.actors} workers, {job.engine}, {job.precision}", style="dim")
            return _run_missing_parts(job, images, out, resolved, pool, console)


def _run_missing_parts(
    job: jobs.Job, images: sources.Images, out: Path, how: WorkerOptions, pool: Pool, console: "Console | None"
) -> JobResult:
    """Compute and write the missing parts."""
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
        for answer in _run_tasks(how, list(tasks), pool):
            jobs.write(out, answer["part"], answer["table"])
            failed[answer["part"]] = answer["failed"]
            done += job.size(answer["part"])
            progress(done, job.count)
    return JobResult(done, sum(count or 0 for count in failed.values()), len(missing))


def _run_tasks(how: WorkerOptions, tasks: list[dict[str, Any]], pool: Pool) -> Iterator[dict[str, Any]]:
    """Yield the workers' result for each task, in order of completion. Raises UserError."""
    import ray.data

    if not tasks:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()
    answers = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(  # one block, so one Ray task, per shard
        Worker, fn_constructor_args=[how, attempts],
        compute=ray.data.ActorPoolStrategy(size=min(pool.actors, len(tasks))),
        num_cpus=pool.cpus, num_gpus=pool.gpus,
    )  # fmt: skip
    for answer in answers.iter_rows():
        if answer["refusal"]:
            raise _error_from_json(answer["refusal"])
        yield answer


def _error_to_json(error: UserError) -> str:
    return json.dumps([error.exit_status, str(error.value), error.rule, error.remedy])


def _error_from_json(text: str) -> UserError:
    status, *sentence = json.loads(text)
    error = UserError(*sentence)
    error.exit_status = status
    return error


def _probe_model(how: WorkerOptions, pool: Pool) -> dict[str, Any]:
    """Open the model on a worker and return its `facts`. Raises UserError."""
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
