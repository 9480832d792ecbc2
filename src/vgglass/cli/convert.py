"""vgglass summary, vgglass convert; and weights by name for the commands that take --model."""

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from vgglass.cli import output
from vgglass.cli.output import Language
from vgglass.errors import UsageError
from vgglass.locale import language, words
from vgglass.locale.messages import translated

Download = Annotated[bool, typer.Option("--download", help="Fetch pretrained weights without asking.")]
Preprocessing = Annotated[
    str | None, typer.Option(help="torchvision or keras: how foreign weights' network is fed, where no file tells.")
]


def summary(
    context: typer.Context,
    architecture: Annotated[str, typer.Argument(help="A to E, A-LRN, vgg11 to vgg19 (_bn), or a model file.")],
    classes: Annotated[int, typer.Option(help="Outputs of fc8.")] = 1000,
    channels: Annotated[int, typer.Option(help="1 (grey) or 3 (colour).")] = 3,
    image_size: Annotated[int, typer.Option(help="Side of the input.")] = 224,
    width: Annotated[float, typer.Option(help="Multiplier of the convolutions' channels.")] = 1.0,
    head: Annotated[str, typer.Option(help="vgg: fc6, fc7 and fc8; pooled: pool5's average and fc8.")] = "vgg",
    hidden: Annotated[int, typer.Option(help="Outputs of fc6 and fc7.")] = 4096,
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
    lang: Language = None,
) -> None:
    """Layers, shapes, parameters, multiply-adds, memory and receptive fields of an architecture."""
    from vgglass import workflows

    if workflows.is_model_file(architecture):
        _refuse_architecture_options(context, architecture)
    network = workflows.architecture(
        architecture, classes=classes, channels=channels, image_size=image_size, width=width, hidden=hidden, head=head
    )
    layers = network.layers()
    memory = [4 * math.prod(layer.output_shape) for layer in layers]  # float32
    if json:
        output.print_json(
            {
                "name": network.name,
                "column": network.column,
                "head": network.head,
                "widths": network.widths,
                "weight_layers": sum(layer.kind in ("conv", "linear") for layer in layers),
                "parameters": network.parameters,
                "multiply_adds": network.multiply_adds,
                "layers": [
                    {
                        "name": layer.name,
                        "kind": layer.kind,
                        "input_shape": layer.input_shape,
                        "output_shape": layer.output_shape,
                        "parameters": layer.parameters,
                        "multiply_adds": layer.multiply_adds,
                        "memory_bytes": size,
                        "receptive_field": layer.receptive_field.size,
                        "jump": layer.receptive_field.jump,
                    }
                    for layer, size in zip(layers, memory, strict=True)
                ],
            }
        )
        return
    chosen = words(language(lang), "commands")
    text, kinds = chosen["summary"], chosen["kinds"]
    rows = [
        [
            layer.name,
            kinds[layer.kind],
            "×".join(str(side) for side in (*layer.output_shape[:0:-1], layer.output_shape[0])),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
            _bytes(size),
            str(layer.receptive_field.size),
            str(layer.receptive_field.jump),
        ]
        for layer, size in zip(layers, memory, strict=True)
    ]
    console = output.console()
    console.print(output.table(text["columns"], rows))
    console.print()
    console.print(
        text["totals"].format(
            name=network.name + (text["pooled"] if network.head == "pooled" else ""),
            weights=sum(layer.kind in ("conv", "linear") for layer in layers),
            parameters=network.parameters,
            macs=network.multiply_adds,
            gmac=network.multiply_adds / 1e9,
            memory=_bytes(sum(memory)),
        ),
        soft_wrap=True,
    )


def _refuse_architecture_options(context: typer.Context, file: str) -> None:
    """Raises UsageError for architecture options in addition to a model file, which determines them."""
    for name in ("classes", "channels", "image_size", "width", "head", "hidden"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')} {context.params[name]}"
            raise UsageError(
                option, f"{file} says itself what its layers are, its widths among them", "leave the option out"
            )


def convert(
    source: Annotated[Path, typer.Argument(help="Weights as .pth, .safetensors, .h5, .keras, .onnx; or a model file.")],
    destination: Annotated[Path, typer.Argument(help="The file to write.")],
    classes: Annotated[str | None, typer.Option(help="A text file, one class name a line; or 'imagenet'.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Size the head to another input.")] = None,
    preprocessing: Preprocessing = None,
    to: Annotated[str | None, typer.Option(help="torchvision, timm or keras: from a model file to theirs.")] = None,
) -> None:
    """Bring weights from torchvision, timm or Keras into a model file, or back."""
    from vgglass import workflows

    console = output.console()
    if to:
        for name, value in {"--classes": classes, "--image-size": image_size, "--preprocessing": preprocessing}.items():
            if value is not None:
                raise UsageError(name, "has no place in another framework's weights", "leave it out with --to")
        workflows.convert_to_foreign(source, destination, to)
        console.print(f"{destination}: weights for {to}; class names and preprocessing stay behind", soft_wrap=True)
        return
    record = workflows.convert_from_foreign(
        source, destination, classes=classes, image_size=image_size, preprocessing=preprocessing, console=console
    )
    console.print(f"{destination}: {record.architecture.name}, classes {_listed(record.classes)}", soft_wrap=True)
    console.print(f"preprocessing: {record.preprocessing.as_json()}", soft_wrap=True)


def fetched(model: str, download: bool) -> str:
    """Return the model as given; download a pretrained name first, after confirmation on a terminal."""
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn

    from vgglass import workflows

    if not workflows.is_pretrained_name(model):
        return model
    console = output.console()
    bar = Progress(*Progress.get_default_columns()[:2], DownloadColumn(), TimeRemainingColumn(), transient=True)
    task = bar.add_task(model)

    def approve(address: str, size: int) -> bool:
        console.print(f"{model}: {size / 1e6:,.0f} MB from {address}", soft_wrap=True)
        agreed = download or (sys.stdin.isatty() and typer.confirm(translated("Download it?")))
        if agreed:
            bar.start()
        return agreed

    try:
        path = workflows.pretrained(
            model, approve=approve, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    finally:
        bar.stop()
    return str(path)


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:3]) + f" and {len(classes) - 3:,} more" * (len(classes) > 3)


def _bytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
