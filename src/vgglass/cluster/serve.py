"""The server on Ray Serve: autoscaled replicas of the same application.

    serve run vgglass.cluster.serve:application model=/models/vgg16.safetensors replicas=8

A replica is a complete `vgglass serve`, with its own batches, queue, decoders, limits and checks. Ray Serve adds the
shared address with a bounded queue, and replaces replicas that die.
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

GRACE = 5.0  # seconds beyond the timeout for a stopping replica to finish its requests


class Arguments(BaseModel):
    """Arguments of `serve run` as name=value, and of a Ray Serve configuration file under 'args'.

    model       a model file, an exported graph or a pretrained name, on every machine
    replicas    maximum number; the minimum is one
    cpus        per replica
    gpus        per replica; a fraction if several share one
    images      maximum queue length of a replica, beyond which it refuses; as `vgglass serve --queue`
    requests    maximum concurrent requests of a replica
    queue       maximum requests queued for a replica at each proxy, beyond which it refuses (503)
    timeout     seconds from a request's arrival at a replica to its response
    hosts       further host names of the server, comma-separated; they require a token
    origins     origins of other pages to allow, comma-separated; as `vgglass serve --allow-origin`
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
    """Build the application for `serve run`. Raises UsageError, ModelFileError, WeightsError, MissingExtraError."""
    require()
    if arguments.hosts and not arguments.token_file:
        rule = "lets others than this machine ask, and asks them for no token"
        raise UsageError(f"hosts={arguments.hosts}", rule, "add token_file=FILE")
    _access(arguments)
    workflows.open_source(arguments.model)  # fail here rather than in replicas that would restart endlessly
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
    """Build one replica's application, in its own process. Raises UserError."""
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
