"""vgglass pool, conv, relu, softmax: one operation of the study note on one image, no model needed."""

import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgglass.cli import output
from vgglass.cli.output import Language, MaxPixels
from vgglass.errors import UsageError
from vgglass.locale import language, words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from vgglass.glass.operations import Geometry, Numbers, Window

SAMPLE = "flower.jpg"  # a photograph that scikit-learn ships
DEPTHS = ("A", "E")  # the columns in which relu --depth measures
MEAN = (0.485, 0.456, 0.406)  # of ImageNet's training images, in units of 0..1

At = Annotated[str | None, typer.Option(help="Show one output's arithmetic: its row and column, as Y,X.")]
ImageArgument = Annotated[Path | None, typer.Argument(help="An image; without one a sample photograph.")]


def pool(
    image: ImageArgument = None,
    kind: Annotated[str, typer.Option(help="max, min or avg.")] = "max",
    kernel: Annotated[int, typer.Option(help="Side of the window.")] = 6,
    stride: Annotated[int, typer.Option(help="Distance between windows.")] = 2,
    padding: Annotated[int, typer.Option(help="Added on every side.")] = 0,
    at: At = None,
    out: Annotated[Path | None, typer.Option(help="The picture; KINDpool.png without.")] = None,
    lang: Language = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Max, min or average pooling of an image, as the study note's script does it."""
    chosen, place = language(lang), output.position(at)
    output.require_png("--out", out)
    x = _open_input(image, chosen)
    from vgglass.glass import operations

    geometry = operations.Geometry((kernel, kernel), stride, padding)
    pooled = operations.pool(x, kind, geometry)
    _print_sizes(x, pooled, geometry, chosen)
    if place:
        _explain_pooling(x, geometry, kind, place, chosen)
    _save(pooled, out or Path(f"{kind}pool.png"), chosen)


def conv(
    image: ImageArgument = None,
    kernel: Annotated[
        str, typer.Option(help="sobel-x, sobel-y, blur, sharpen, emboss, identity, or rows: [[0,1],[1,0]].")
    ] = "sobel-x",
    stride: Annotated[int, typer.Option(help="Distance between windows.")] = 1,
    padding: Annotated[int, typer.Option(help="Zeros added on every side.")] = 0,
    dilation: Annotated[int, typer.Option(help="Distance between the kernel's taps.")] = 1,
    per_channel: Annotated[bool, typer.Option("--per-channel", help="Three maps instead of their sum.")] = False,
    as_: Annotated[str, typer.Option("--as", help="gather or scatter.")] = "gather",
    flip: Annotated[bool, typer.Option("--flip", help="Turn the kernel by 180 degrees first.")] = False,
    at: At = None,
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("conv.png"),
    lang: Language = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Convolution of an image with one kernel, every product on request."""
    if as_ not in ("gather", "scatter"):
        raise UsageError(f"--as {as_}", "not one of gather, scatter", "choose one of them")
    chosen, place = language(lang), output.position(at)
    output.require_png("--out", out)
    x = _open_input(image, chosen)
    from vgglass.glass import operations

    text, console = _text(chosen), output.console()
    weights = operations.kernel(kernel)
    weights = weights[::-1, ::-1] if flip else weights
    geometry = operations.Geometry((weights.shape[0], weights.shape[1]), stride, padding, dilation)
    ways = {
        "gather": operations.gather(x.double(), weights, geometry, per_channel=per_channel),
        "scatter": operations.scatter(x.double(), weights, geometry, per_channel=per_channel),
    }
    result = ways[as_]
    _print_sizes(x, result, geometry, chosen)
    console.print(text["flipped" if flip else "no_flip"], soft_wrap=True)
    if place:
        geometry.require_place(x.shape[2], x.shape[3], place)
    _print_both(ways, as_, place or (result.shape[2] // 2, result.shape[3] // 2), chosen)
    if as_ == "scatter":
        console.print(text["response"], output.matrix(weights[::-1, ::-1]), sep="\n")
    if place:
        seen = operations.window(x, geometry, place)
        sums = _explain_convolution(seen, weights, geometry, place, scattered=as_ == "scatter", lang=chosen)
        if not per_channel:
            terms = " + ".join(f"{value:.6g}" for value in sums)
            console.print(text["total"].format(terms=terms, sum=f"{sum(sums):.6g}"), soft_wrap=True)
    if abs(weights.sum()) < 1e-9:  # an edge detector's output is centred on zero
        end = float(result.abs().max()) or 1.0
        console.print(text["grey"].format(end=f"{end:.3g}"))
        result = result / (2 * end) + 0.5
    else:
        mean_of = "" if per_channel else text["mean_of"].format(channels=x.shape[1])
        console.print(text["clipped"].format(mean_of=mean_of))
        result = result if per_channel else result / x.shape[1]
    _save(result, out, chosen)


def relu(
    image: Annotated[Path | None, typer.Argument(help="An image, or a feature map saved as .npy.")] = None,
    channel: Annotated[int, typer.Option(help="The channel that the picture shows.")] = 0,
    depth: Annotated[bool, typer.Option("--depth", help="Gradients by layer in columns A and E instead.")] = False,
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("relu.png"),
    lang: Language = None,
    max_pixels: MaxPixels = None,
) -> None:
    """ReLU beside tanh and sigmoid: zeros, costs, and with --depth whether a deep network trains."""
    chosen = language(lang)
    output.require_png("--out", out)
    if depth:
        _report_depth(out, chosen)
        return
    text, console = _text(chosen), output.console()
    if image is not None and image.suffix == ".npy":
        from vgglass import workflows

        workflows.require_torch("operations on images")
        from vgglass.glass.operations import open_map

        x = open_map(image)
        console.print(text["map"].format(file=image, channel=channel), soft_wrap=True)
    else:
        import torch

        x = _open_input(image, chosen)[0] - torch.tensor(MEAN)[:, None, None]
        console.print(text["minus"])
    if not 0 <= channel < len(x):
        raise UsageError(f"--channel {channel}", f"the map has channels 0 to {len(x) - 1}", "choose one of them")
    from vgglass.glass import charts, nonlinearities

    found = nonlinearities.respond(x)
    ratios = ["—" if (ratio := row.times(found[0])) is None else f"{ratio:.1f}" for row in found]
    rows = [[text["before"], *_figures(x.numpy()), "", ""]]
    rows += [
        [row.name, *_figures(row.output), f"{row.nanoseconds:.2f}", ratio]
        for row, ratio in zip(found, ratios, strict=True)
    ]
    console.print(output.table(text["responses"], rows))
    runs = nonlinearities.TIMED_ROUNDS * nonlinearities.TIMED_RUNS
    console.print(text["cost"].format(runs=runs, numbers=nonlinearities.TIMED_NUMBERS), soft_wrap=True)
    if "—" in ratios:
        console.print(text["busy"], soft_wrap=True)
    one = [replace(row, output=row.output[channel]) for row in found]
    output.warn(charts.responses(x[channel].numpy(), one, channel, out, chosen))
    console.print(text["written"].format(picture=out), soft_wrap=True)


def _report_depth(out: Path, lang: str) -> None:
    """Measure, print and draw the study note's four claims about ReLU."""
    from vgglass import workflows

    workflows.require_torch("operations on images")
    import torch

    from vgglass.glass import charts, nonlinearities

    text, console = words(lang, "commands")["depth"], output.console()
    console.print(text["about"].format(steps=nonlinearities.STEPS), soft_wrap=True)
    torch.manual_seed(nonlinearities.SEED)
    costs = nonlinearities.respond(torch.randn(256, 256))
    names = list(nonlinearities.FUNCTIONS)
    found = {
        (column, name): nonlinearities.depth(column, name, nonlinearities.STEPS) for column in DEPTHS for name in names
    }
    console.print(text["gradients"])
    for column in DEPTHS:
        runs = [found[column, name] for name in names]
        rows = [[layer, *(f"{run.gradients[index]:.3g}" for run in runs)] for index, layer in enumerate(runs[0].layers)]
        console.print(output.table("|>".join([column, "ReLU", "tanh", "sigmoid"]), rows))
    relu, tanh, sigmoid = costs
    deep = [found[DEPTHS[-1], name] for name in names]
    holds = [text[str(verdict)] for verdict in nonlinearities.verdicts(costs, deep)]
    ratios = [row.times(relu) for row in (tanh, sigmoid)]
    by_tanh, by_sigmoid = ("" if ratio is None else text["times"].format(times=ratio) for ratio in ratios)
    console.print(
        text["cheap"].format(
            verdict=holds[0], relu=relu.nanoseconds, tanh=tanh.nanoseconds, tanh_times=by_tanh,
            sigmoid=sigmoid.nanoseconds, sigmoid_times=by_sigmoid,
        ),
        text["sparse"].format(verdict=holds[1], **{run.function: run.zeros for run in deep}),
        text["linear"].format(
            verdict=holds[2], relu=relu.doubling, tanh=tanh.doubling, sigmoid=sigmoid.doubling,
            relu_slope=relu.slope, tanh_slope=tanh.slope, sigmoid_slope=sigmoid.slope,
        ),
        text["deep"].format(
            verdict=holds[3], **{run.function: run.reach for run in deep}, steps=nonlinearities.STEPS,
            **{f"{run.function}_loss": run.losses[-1] for run in deep},
            learned=", ".join(charts.NAMES[run.function] for run in deep if run.learned) or "—",
        ),
        sep="\n", soft_wrap=True,
    )  # fmt: skip
    output.warn(charts.claims(costs, list(found.values()), out, lang))
    console.print(text["written"].format(picture=out), soft_wrap=True)


def softmax(
    logits: Annotated[list[float], typer.Argument(help="The numbers.")],
    temperature: Annotated[float, typer.Option(help="Divides the logits: above 1 evens the shares out.")] = 1.0,
    lang: Language = None,
) -> None:
    """Softmax of some numbers, term by term."""
    from vgglass import workflows

    workflows.require_torch("the glass")
    from vgglass.glass import operations

    text, found = _text(language(lang)), operations.softmax(logits, temperature)
    columns = (found.logits, found.scaled, found.shifted, found.exponentials, found.probabilities)
    rows = [
        [str(index), *(f"{value:.6g}" for value in numbers)] for index, numbers in enumerate(zip(*columns, strict=True))
    ]
    console = output.console()
    console.print(output.table(text["softmax"], rows))
    sentence = text["softmax_sum"].format(total=found.total, sum=found.probabilities.sum())
    console.print(sentence, soft_wrap=True)


def _text(lang: str) -> dict[str, str]:
    text: dict[str, str] = words(lang, "commands")["operations"]
    return text


def _open_input(source: Path | None, lang: str) -> "Tensor":
    """Open an image as the study note does, (1, 3, H, W) in 0..1, and print how `images.decode` differs."""
    from vgglass import workflows

    workflows.require_torch("operations on images")
    from vgglass.glass.operations import open_image

    console = output.console()
    if source is None:
        console.print(_text(lang)["sample"])
        source = Path(str(files("sklearn.datasets.images").joinpath(SAMPLE)))
    image, differences = open_image(source)
    for difference in differences:
        sentence = words(lang, "commands")["differences"][difference]
        console.print(_text(lang)["note"].format(name=source, difference=sentence), style="yellow", soft_wrap=True)
    return image


def _save(result: "Tensor", path: Path, lang: str) -> None:
    from vgglass.glass.operations import save_image

    save_image(result, path)
    output.console().print(_text(lang)["written"].format(picture=path), soft_wrap=True)


def _print_sizes(x: "Tensor", result: "Tensor", geometry: "Geometry", lang: str) -> None:
    text, console = _text(lang), output.console()
    for name, tensor in (("image", x), ("output", result)):
        console.print(text[name].format(shape="×".join(map(str, tensor.shape))))
    console.print(text["size"])
    for name, axis in (("height", 0), ("width", 1)):
        console.print(text[name].format(formula=geometry.formula(x.shape[2 + axis], axis)))


def _print_window(seen: "Window", geometry: "Geometry", place: tuple[int, int], lang: str) -> None:
    reach = [geometry.dilation * (taps - 1) for taps in geometry.kernel]
    sentence = _text(lang)["window"].format(
        row=place[0], column=place[1], top=seen.top, bottom=seen.top + reach[0], left=seen.left,
        right=seen.left + reach[1],
    )  # fmt: skip
    output.console().print(sentence, soft_wrap=True)


def _explain_pooling(x: "Tensor", geometry: "Geometry", kind: str, place: tuple[int, int], lang: str) -> None:
    import numpy as np

    from vgglass.glass import operations

    text, console = _text(lang), output.console()
    seen = operations.window(x, geometry, place)
    _print_window(seen, geometry, place, lang)
    winners = operations.winners(seen, kind)
    worst = {"max": -math.inf, "min": math.inf, "avg": 0.0}[kind]  # the value of the padding
    if worst and not seen.inside.all():
        console.print(text["never"])
    for channel, value in enumerate(operations.pooled(seen, kind)):
        console.print(text["channel"].format(channel=channel))
        console.print(output.matrix(np.where(seen.inside, seen.values[channel], worst), seen.inside), soft_wrap=True)
        if kind == "avg":
            terms = " + ".join(f"{number:.5g}" for number in seen.values[channel].ravel())
            said = text["average"].format(terms=terms, count=seen.inside.size, value=f"{value:.6g}")
        else:
            row, column = winners[channel]
            said = text[kind].format(value=f"{value:.6g}", row=seen.top + row, column=seen.left + column)
        console.print(f"  {said}", soft_wrap=True)


def _explain_convolution(
    seen: "Window", weights: "Numbers", geometry: "Geometry", place: tuple[int, int], *, scattered: bool, lang: str
) -> list[float]:
    """Print every channel's products, as patch times kernel or, if `scattered`, pixel by pixel; return the sums."""
    text, console = _text(lang), output.console()
    _print_window(seen, geometry, place, lang)
    console.print(text["kernel"], output.matrix(weights), sep="\n")
    sums = []
    for channel, values in enumerate(seen.values):
        products = values * weights
        sums.append(float(products.sum()))
        console.print(text["channel"].format(channel=channel))
        if scattered:
            _print_scatter(seen, values, weights, geometry, lang)
        else:
            console.print(f"  {text['patch']}", output.matrix(values, seen.inside), sep="\n", soft_wrap=True)
            console.print(f"  {text['products']}", output.matrix(products), sep="\n", soft_wrap=True)
        console.print(f"  {text['sum'].format(sum=sums[-1])}")
    return sums


def _print_scatter(seen: "Window", values: "Numbers", weights: "Numbers", geometry: "Geometry", lang: str) -> None:
    """Print the contribution of every pixel of the window (rows, columns), as scattering computes it."""
    for row, column in zip(*seen.inside.nonzero(), strict=True):
        value, weight = values[row, column], weights[row, column]
        sentence = _text(lang)["laid"].format(
            row=seen.top + geometry.dilation * row, column=seen.left + geometry.dilation * column,
            value=value, weight=weight, product=value * weight,
        )  # fmt: skip
        output.console().print(f"  {sentence}", soft_wrap=True)


def _print_both(ways: "dict[str, Tensor]", shown: str, place: tuple[int, int], lang: str) -> None:
    """Print both results side by side, first the one in the picture."""
    text, console = _text(lang), output.console()
    rows = []
    for way, found in sorted(ways.items(), key=lambda item: item[0] != shown):
        figures = [f"{float(value):.6g}" for value in (found.min(), found.mean(), found.max())]
        here = ", ".join(f"{float(value):.6g}" for value in found[0, :, place[0], place[1]])
        rows.append([text[way], *figures, here])
    console.print(output.table(text["ways"].format(row=place[0], column=place[1]), rows))
    difference = float((ways["gather"] - ways["scatter"]).abs().max())
    console.print(text["same"].format(difference=difference))


def _figures(values: "NDArray[np.float32]") -> list[str]:
    return [f"{values.min():.4g}", f"{values.mean():.4g}", f"{values.max():.4g}", f"{(values == 0).mean():.2%}"]
