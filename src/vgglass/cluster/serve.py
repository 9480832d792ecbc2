"""The server on Ray Serve: replicas of the same application, as many as the requests call for.

    serve run vgglass.cluster.serve:application model=/models/vgg16.safetensors replicas=8

A replica is the whole of `vgglass serve`: its batches, queue, decoders, limits and checks. What Ray Serve adds is the
address that they share, a bound on what waits there, and a new replica in the place of one that died.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp

from vgglass import workflows
from vgglass.cluster.connection import limit_threads, require
from vgglass.errors import UsageError
from vgglass.server import access, app, monitoring
from vgglass.server.admission import Service
from vgglass.server.model_store import Options
from vgglass.weights import zoo

if TYPE_CHECKING:
    from ray.serve import Application

GRACE = 5.0  # seconds beyond the timeout, in which a replica that is to stop ends its requests


class Arguments(BaseModel):
    """What `serve run` takes as name=value, and a configuration file of Ray Serve under 'args'.

    model       a model file, an exported graph or a pretrained name, on every machine
    replicas    the most there may be; at least one
    cpus        of a replica
    gpus        of a replica; a part of one where several share it
    images      that may wait in a replica, more are refused; as `vgglass serve --queue`
    requests    that a replica has under way at a time
    queue       requests that may wait for a replica besides, at each proxy; more are refused (503)
    timeout     seconds from a request's arrival at a replica to its answer
    hosts       other names that the server goes by, separated by commas; they need a token
    origins     pages elsewhere that may ask, separated by commas; as `vgglass serve --allow-origin`
    token_file  a file with the bearer token that clients must send, on every machine
    """

    model_config = ConfigDict(extra="forbid")

    model: str = "vgg16"
    replicas: int = Field(default=2, ge=1)
    cpus: float = Field(default=1, gt=0)
    gpus: float = Field(default=0, ge=0)
    images: int = Field(default=64, ge=1, le=4096)
    requests: int = Field(default=32, ge=1)
    queue: int = Field(default=64, ge=0)
    timeout: float = Field(default=30, ge=1, le=600)
    hosts: str = ""
    origins: str = ""
    token_file: str = ""
    views: str | None = None
    engine: str = "auto"
    precision: str = "auto"


def application(arguments: Arguments) -> "Application":
    """The application for `serve run`. Raises UsageError, ModelFileError, WeightsError, MissingExtraError."""
    require()
    if arguments.hosts and not arguments.token_file:
        rule = "lets others than this machine ask, and asks them for no token"
        raise UsageError(f"hosts={arguments.hosts}", rule, "add token_file=FILE")
    _access(arguments)
    workflows.open_source(arguments.model)  # a wrong one is told here, not by replicas that start again and again
    from ray import serve

    def build() -> ASGIApp:
        return replica(arguments)

    deployment = serve.deployment(
        name="vgglass",
        max_ongoing_requests=arguments.requests,
        max_queued_requests=arguments.queue,
        autoscaling_config={"min_replicas": 1, "max_replicas": arguments.replicas, "target_ongoing_requests": 4},
        ray_actor_options={"num_cpus": arguments.cpus, "num_gpus": arguments.gpus},
        graceful_shutdown_timeout_s=arguments.timeout + GRACE,
    )(serve.ingress(build)())
    bound: Application = deployment.bind()
    return bound


def replica(arguments: Arguments) -> ASGIApp:
    """One replica's application, in its own process. Raises UserError."""
    monitoring.start()
    limit_threads(max(1, int(arguments.cpus)))
    options = Options(arguments.views, arguments.engine, arguments.precision)
    service = Service.of(_model(arguments.model), options, arguments.images, arguments.timeout)
    return app.create(service, _access(arguments))


def _access(arguments: Arguments) -> access.Access:
    names, pages = ([each for each in text.split(",") if each] for text in (arguments.hosts, arguments.origins))
    path = Path(arguments.token_file) if arguments.token_file else None
    return access.access_rules("127.0.0.1", names, access.read_token(path), pages)


def _model(name: str) -> Path:
    return workflows.pretrained(name) if name in zoo.names() and not Path(name).exists() else Path(name)
