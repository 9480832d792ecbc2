"""vgglass step: the arithmetic of one output of a network, in written notation."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vgglass.cli import output
from vgglass.cli.convert import Download
from vgglass.cli.look import Model, Parent, opened
from vgglass.cli.output import Language, MaxPixels
from vgglass.locale import language, words

if TYPE_CHECKING:
    from vgglass.glass import Subject
    from vgglass.glass.steps import (
        Arithmetic,
        AveragePooling,
        BatchNorm,
        Convolution,
        Dropout,
        FullyConnected,
        LocalResponse,
        MaxPooling,
        Rectifier,
        Share,
    )  # fmt: skip

SHOWN = 3  # input channels whose patches are printed, largest contributions first
LARGEST = 8  # printed contributions to a fully connected output


def step(
    image: Annotated[Path, typer.Argument(help="The image to look at.")],
    layer: Annotated[str, typer.Option(help="Such as conv3_2, pool1, fc8, prob.")],
    model: Model = "vgg16",
    channel: Annotated[int | None, typer.Option(help="The one with the largest output without.")] = None,
    at: Annotated[str | None, typer.Option(help="Row and column as Y,X; the largest output without.")] = None,
    parent: Parent = None,
    all_: Annotated[bool, typer.Option("--all", help="Every input channel's patch and products.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Every term for a program.")] = False,
    download: Download = False,
    lang: Language = None,
    max_pixels: MaxPixels = None,
) -> None:
    """One number's arithmetic, term by term, checked against the network."""
    chosen, place = language(lang), output.position(at)
    subject = opened(model, image, download)
    from vgglass import glass, workflows
    from vgglass.glass.parent import counterpart, parent_subject

    model_there = workflows.load_parent(subject.record, parent)
    found = glass.step(subject, layer, channel, place)
    there = counterpart(subject, parent_subject(subject, model_there), found) if model_there else None
    if json:
        output.print_json(found.as_json() | ({"parent": vars(there)} if there else {}))
    else:
        _print(subject, found, all_, chosen)
    if there and not json:
        output.console().print(words(chosen, "commands")["step"]["parent"].format(**vars(there)), soft_wrap=True)
    if not found.agrees:
        output.warn(f"the difference {found.difference:.3g} is more than {found.bound:.3g}", "red")
        raise typer.Exit(1)


def _print(subject: "Subject", found: "Arithmetic", every: bool, lang: str) -> None:
    from vgglass.glass import on_original

    text, kinds = (words(lang, "commands")[place] for place in ("step", "kinds"))
    console = output.console()
    layer, (row, column) = found.layer, found.position
    channels, height, width = layer.output_shape
    console.print(
        text["title"].format(
            layer=layer.name, kind=kinds[layer.kind], channel=found.channel, row=row, column=column,
            width=width, height=height, channels=channels,
        ),
        soft_wrap=True,
    )  # fmt: skip
    field = layer.receptive_field
    box, (rows, columns) = on_original(subject, field.box(found.position)), subject.original.shape[:2]
    edges = {
        "top": math.floor(box.top), "left": math.floor(box.left),
        "bottom": math.ceil(box.bottom) - 1, "right": math.ceil(box.right) - 1,
    }  # fmt: skip
    sees = text["padding" if box.empty else "sees"].format(
        **edges, size=field.size, jump=field.jump, width=columns, height=rows
    )
    console.print(sees, soft_wrap=True)
    PRINTERS[layer.kind](found.terms, found, subject, text, every)
    check = text["check"].format(
        recomputed=found.recomputed, network=found.network, difference=found.difference, bound=found.bound
    )
    console.print(check, style="bold", soft_wrap=True)


Text = dict[str, str]


def _convolution(terms: "Convolution", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    console = output.console()
    sums = terms.channel_sums
    order = [int(index) for index in abs(sums).argsort(kind="stable")[::-1]]
    printed = range(len(sums)) if every else sorted(order[:SHOWN])
    console.print(text["conv"].format(channels=len(sums)), soft_wrap=True)
    record = subject.record.preprocessing
    if found.layer.name == "conv1_1":
        mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (record.mean, record.std))
        console.print(text["fed"].format(mean=mean, std=std, order=record.channel_order), soft_wrap=True)
    if len(printed) < len(sums):
        console.print(text["shown"].format(shown=len(printed)))
    for channel in printed:
        colour = f" ({record.channel_order[channel]})" if found.layer.name == "conv1_1" and record.channels > 1 else ""
        console.print(text["channel"].format(channel=f"{channel}{colour}", sum=sums[channel]), soft_wrap=True)
        for numbers, inside in (
            (terms.seen.values[channel], terms.seen.inside), (terms.kernel[channel], None),
            (terms.products[channel], None),
        ):  # fmt: skip
            console.print(output.matrix(numbers, inside), soft_wrap=True)
            console.print()
    if len(printed) < len(sums):
        rest = float(sums.sum() - sums[list(printed)].sum())
        console.print(text["rest"].format(channels=len(sums) - len(printed), sum=rest), soft_wrap=True)
    console.print(text["sum"].format(sum=terms.products.sum(), bias=terms.bias), soft_wrap=True)


def _batch_norm(terms: "BatchNorm", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    sentence = text["batchnorm"].format(
        input=terms.x, mean=terms.mean, variance=terms.variance, epsilon=terms.epsilon, scale=terms.scale,
        shift=terms.shift,
    )  # fmt: skip
    output.console().print(sentence, soft_wrap=True)


def _local_response(terms: "LocalResponse", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    last = terms.first + len(terms.neighbours) - 1
    values = ", ".join(f"{value:.6g}" for value in terms.neighbours)
    sentence = text["lrn"].format(
        first=terms.first, last=last, values=values, squares=terms.squares, input=terms.x, divisor=terms.divisor
    )
    output.console().print(sentence, soft_wrap=True)


def _elementwise(
    terms: "Rectifier | Dropout", found: "Arithmetic", subject: "Subject", text: Text, every: bool
) -> None:
    output.console().print(text[found.layer.kind].format(input=terms.x))


def _max_pooling(terms: "MaxPooling", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    console = output.console()
    console.print(output.matrix(terms.seen.values[0], terms.seen.inside))
    row, column = terms.winner
    console.print(text["pool"].format(row=terms.seen.top + row, column=terms.seen.left + column), soft_wrap=True)


def _average_pooling(terms: "AveragePooling", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    console = output.console()
    console.print(output.matrix(terms.seen.values[0], terms.seen.inside), soft_wrap=True)
    console.print(text["average"].format(total=terms.total, count=terms.count, divisor=terms.count), soft_wrap=True)


def _fully_connected(terms: "FullyConnected", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    console, products = output.console(), terms.products
    shown = terms.largest if every else terms.largest[:LARGEST]
    rows = [
        [str(index), *(f"{value:.6g}" for value in (terms.inputs[index], terms.weights[index], products[index]))]
        for index in shown
    ]
    console.print(text["fc"].format(inputs=len(products)), soft_wrap=True)
    console.print(output.table(text["fc_columns"], rows))
    if len(shown) < len(products):
        rest = products.sum() - products[shown].sum()
        console.print(text["fc_rest"].format(count=len(products) - len(shown), sum=rest))
    console.print(text["sum"].format(sum=products.sum(), bias=terms.bias), soft_wrap=True)


def _softmax(terms: "Share", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    console, classes = output.console(), subject.record.classes
    order = (-terms.logits).argsort(kind="stable")
    shown = order if every else order[:LARGEST]
    columns = (terms.logits, terms.exponentials, terms.exponentials / terms.total)
    rows = [[classes[i], *(f"{numbers[i]:.7g}" for numbers in columns)] for i in shown]
    console.print(output.table(text["softmax_columns"], rows))
    sentence = text["softmax"].format(
        logit=terms.logits[terms.index], largest=terms.logits.max(), total=terms.total,
        exponential=float(terms.exponentials[terms.index]),
    )  # fmt: skip
    console.print(sentence, soft_wrap=True)
    if subject.record.temperature:
        console.print(text["temperature"].format(temperature=subject.record.temperature), soft_wrap=True)


PRINTERS: dict[str, Any] = {
    "conv": _convolution,
    "batchnorm": _batch_norm,
    "lrn": _local_response,
    "relu": _elementwise,
    "dropout": _elementwise,
    "maxpool": _max_pooling,
    "avgpool": _average_pooling,
    "linear": _fully_connected,
    "softmax": _softmax,
}
