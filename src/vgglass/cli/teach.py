"""vgglass teach."""

from pathlib import Path
from typing import Annotated

import typer

from vgglass.cli import output
from vgglass.cli.convert import Download, Preprocessing, fetched
from vgglass.cli.serve import require_packages


def teach(
    folder: Annotated[Path, typer.Argument(help="Class folders, or a new folder; it is changed as you sort.")] = Path(
        "taught"
    ),
    source: Annotated[
        str | None,
        typer.Option("--from", help="A model, pretrained name or other weights; weights on this machine without."),
    ] = None,
    preprocessing: Preprocessing = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the bearer token that clients must send.")
    ] = None,
    download: Download = False,
) -> None:
    """A page to teach classes by examples: sort photographs, see the answers at once; the folder is the data set."""
    require_packages()
    from vgglass import workflows
    from vgglass.server import access, app, monitoring, process
    from vgglass.server.admission import Service
    from vgglass.server.lessons import Lessons
    from vgglass.server.model_store import Options

    chosen = fetched(source or workflows.cached_weights() or "vgg16", download)
    token = access.read_token(token_file)
    names = access.access_rules("127.0.0.1", (), token, ())
    with process.bind("127.0.0.1", port) as bound:
        monitoring.start()
        classroom = workflows.classroom(folder, chosen, preprocessing)
        lessons = Lessons(classroom)
        service = Service.of(classroom.path, Options(), 64, 30, lessons=lessons)
        place = f"{process.address(bound)}#view=teach"
        engine = f"{classroom.see.name}, {classroom.see.precision}"
        output.console().print(f"{place} teaches {folder} ({engine})", soft_wrap=True)
        process.run(app.create(service, names), bound, 30, service.models.reload, lessons.close)
