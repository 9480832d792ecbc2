"""vgglass serve."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from vgglass.cli import output
from vgglass.cli.convert import Download, fetched
from vgglass.cli.look import Parent
from vgglass.cli.output import MaxPixels
from vgglass.errors import MissingExtraError, UsageError

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def serve(
    model: Annotated[str, typer.Option(help="A model file, an exported graph, or a pretrained name.")] = "vgg16",
    host: Annotated[str, typer.Option(help="The address to listen at; others than this machine's need a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:PORT]", help="Another name that this server goes by; repeatable."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A page elsewhere that may ask, as https://app.example; repeatable."),
    ] = None,
    root_path: Annotated[
        str, typer.Option(metavar="PREFIX", help="What a proxy leaves in front of paths, as /vgg.")
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the bearer token that clients must send.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without a token.")] = False,
    queue: Annotated[int, typer.Option(min=1, max=4096, help="Images that may wait; more are refused.")] = 64,
    timeout: Annotated[float, typer.Option(min=1, max=600, help="Seconds that a request may take.")] = 30,
    views: Annotated[str | None, typer.Option(help="centre, dense, crops, scales; dense@256,384+crops@256.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, torch or onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (the quicker here), float32, bfloat16 or int8.")] = "auto",
    parent: Parent = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Images that the page may train on, one subfolder a class.")
    ] = None,
    download: Download = False,
    max_pixels: MaxPixels = None,
) -> None:
    """A page that opens every layer; /predict, the Open Inference Protocol, /metrics; SIGHUP reloads the model."""
    require_packages()
    from vgglass.server import access, app, monitoring, process
    from vgglass.server.admission import Service
    from vgglass.server.model_store import Options
    from vgglass.server.training import Training

    token = access.read_token(token_file)
    names = access.access_rules(host, allow_host or (), token, allow_origin or ())
    if token is None and not insecure and not access.is_loopback(host):
        rule = "lets others than this machine ask, and asks them for no token"
        raise UsageError(f"--host {host}", rule, "add --token-file FILE, or --insecure if that is meant")
    if data and not data.is_dir():
        raise UsageError(f"--data {data}", "is no folder", "name one with a subfolder for each class")
    path = Path(fetched(model, download))
    with process.bind(host, port) as bound:
        monitoring.start()
        training = Training(data and data.resolve(), token is not None or access.is_loopback(host), path.parent)
        service = Service.of(path, Options(views, engine, precision, parent), queue, timeout, training)
        about = service.models.current.about
        output.console().print(f"{process.address(bound)} serves {path} ({about})", soft_wrap=True)
        process.run(app.create(service, names, root_path), bound, timeout, service.models.reload)


def require_packages() -> None:
    """Raises MissingExtraError unless what the server needs is installed."""
    for package in PACKAGES:
        if not find_spec(package):
            raise MissingExtraError(package, "serve", "serving")
