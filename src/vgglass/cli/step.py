"""vgglass step: the arithmetic of one number of a network, printed as a person would write it."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vgglass.cli import output
from vgglass.cli.allowing import MaxPixels
from vgglass.cli.convert import Download
from vgglass.cli.look import Model, opened
from vgglass.cli.output import KINDS, Language, language

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

SHOWN = 3  # input channels whose patches are printed, the largest contributions first
LARGEST = 8  # contributions to a fully connected output

TEXT = {
    "en": {
        "title": "{layer} ({kind}), channel {channel}, row {row}, column {column} of {width}×{height}×{channels}",
        "sees": "It sees {size}×{size} pixels of the input (distance between neighbours {jump}): rows {top} to"
        " {bottom} and columns {left} to {right} of the {width}×{height} image.",
        "padding": "It sees nothing but padding around the {width}×{height} image ({size}×{size} pixels of the input).",
        "temperature": "The model's answer divides the logits by its temperature {:g} first; the layer prob does not.",
        "conv": "result = sum over height, width and {} input channels of patch × kernel, plus the bias",
        "fed": "the input is (pixel − mean) / std, with mean {} and std {} in the order {}",
        "shown": "shown: the {} input channels with the largest sums",
        "channel": "input channel {}: the patch (padding in brackets), the kernel, the products; their sum {:.9g}",
        "rest": "the other {} channels together: {:.9g}  (--all prints them)",
        "sum": "sum of products = {:.9g}, bias = {:.9g}",
        "batchnorm": "(x − mean) / sqrt(variance + ε) × scale + shift\n"
        "= ({:.9g} − {:.9g}) / sqrt({:.9g} + {:g}) × {:.9g} + {:.9g}",
        "lrn": "x / (2 + 0.0001 × sum of squares)^0.75, over channels {} to {}\n"
        "squares of {}: sum {:.9g}\n= {:.9g} / {:.9g}",
        "relu": "max(0, {:.9g})", "dropout": "{:.9g}: dropout changes nothing outside training",
        "average": "the mean of the window: the sum {:.9g} of {} numbers, divided by {}",
        "pool": "the largest of the window; it stands at row {}, column {} of the layer's input",
        "fc": "result = sum over {} inputs of input × weight, plus the bias; the largest contributions:",
        "fc_columns": ">input|>value|>weight|>product", "fc_rest": "the other {} together: {:.9g}",
        "softmax": "exp(logit − largest) / sum = exp({:.9g} − {:.9g}) / {:.9g} = {:.9g} / {:.9g}",
        "softmax_columns": "class|>logit|>exp(logit − largest)|>probability",
        "check": "recomputed = {:.9g}   network = {:.9g}   difference = {:.2g}"
        "   (allowed {:.2g} = 1e-5 × (Σ|terms| + |bias|))",
    },
    "zh": {
        "title": "{layer}（{kind}），通道 {channel}，行 {row}、列 {column}；该层输出为 {width}×{height}×{channels}",
        "sees": "该位置看到输入的 {size}×{size} 个像素（相邻位置相距 {jump}）：{width}×{height} 原图的行 {top} 至"
        " {bottom}、列 {left} 至 {right}。",
        "padding": "该位置只看到 {width}×{height} 原图之外的填充（输入的 {size}×{size} 个像素）。",
        "temperature": "模型给出的结果会先把 logits 除以温度 {:g}；prob 层本身不除以温度。",
        "conv": "结果 = Σ（输入块 × 卷积核）+ 偏置，求和遍及高、宽和 {} 个输入通道",
        "fed": "输入为（像素 − 均值）/ 标准差，均值 {}，标准差 {}，通道顺序 {}",
        "shown": "列出的是和（绝对值）最大的 {} 个输入通道",
        "channel": "输入通道 {}：输入块（括号内为填充）、卷积核、乘积；其和为 {:.9g}",
        "rest": "其余 {} 个通道合计：{:.9g}（--all 可全部列出）",
        "sum": "乘积之和 = {:.9g}，偏置 = {:.9g}",
        "batchnorm": "(x − 均值) / sqrt(方差 + ε) × 缩放 + 平移\n"
        "= ({:.9g} − {:.9g}) / sqrt({:.9g} + {:g}) × {:.9g} + {:.9g}",
        "lrn": "x / (2 + 0.0001 × 平方和)^0.75，范围为通道 {} 至 {}\n{} 的平方和为 {:.9g}\n= {:.9g} / {:.9g}",
        "relu": "max(0, {:.9g})", "dropout": "{:.9g}：随机失活只在训练时起作用，此处数值不变",
        "average": "窗口的平均值：{1} 个数之和 {0:.9g} 除以 {2}",
        "pool": "窗口中的最大值，位于该层输入的行 {}、列 {}",
        "fc": "结果 = Σ（输入 × 权重）+ 偏置，共 {} 个输入；贡献最大的几项：",
        "fc_columns": ">输入|>数值|>权重|>乘积", "fc_rest": "其余 {} 项合计：{:.9g}",
        "softmax": "exp(logit − 最大值) / 和 = exp({:.9g} − {:.9g}) / {:.9g} = {:.9g} / {:.9g}",
        "softmax_columns": "类别|>logit|>exp(logit − 最大值)|>概率",
        "check": "重新计算 = {:.9g}   网络 = {:.9g}   差 = {:.2g}   （允许 {:.2g} = 1e-5 ×（Σ|各项| + |偏置|））",
    },
}  # fmt: skip


def step(
    image: Annotated[Path, typer.Argument(help="The image to look at.")],
    layer: Annotated[str, typer.Option(help="Such as conv3_2, pool1, fc8, prob.")],
    model: Model = "vgg16",
    channel: Annotated[int | None, typer.Option(help="The one with the largest output without.")] = None,
    at: Annotated[str | None, typer.Option(help="Row and column as Y,X; the largest output without.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every input channel's patch and products.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Every term for a program.")] = False,
    download: Download = False,
    lang: Language = None,
    max_pixels: MaxPixels = None,
) -> None:
    """One number's arithmetic, term by term, checked against the network."""
    chosen, place = language(lang), output.position(at)
    subject = opened(model, image, download)
    from vgglass import glass

    found = glass.step(subject, layer, channel, place)
    if json:
        output.print_json(found.as_json())
    else:
        _print(subject, found, all_, chosen)
    if not found.agrees:
        typer.secho(f"the difference {found.difference:.3g} is more than {found.bound:.3g}", fg="red", err=True)
        raise typer.Exit(1)


def _print(subject: "Subject", found: "Arithmetic", every: bool, lang: str) -> None:
    from vgglass.glass import on_original, receptive_field

    text, console = TEXT[lang], output.console()
    layer, (row, column) = found.layer, found.position
    channels, height, width = layer.output_shape
    console.print(
        text["title"].format(
            layer=layer.name, kind=KINDS[lang][layer.kind], channel=found.channel, row=row, column=column,
            width=width, height=height, channels=channels,
        ),
        soft_wrap=True,
    )  # fmt: skip
    field = receptive_field(subject.network.architecture, layer.name)
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
    console.print(
        text["check"].format(found.recomputed, found.network, found.difference, found.bound), style="bold",
        soft_wrap=True,
    )  # fmt: skip


Text = dict[str, str]


def _convolution(terms: "Convolution", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    console = output.console()
    sums = terms.channel_sums
    order = [int(index) for index in abs(sums).argsort(kind="stable")[::-1]]
    printed = range(len(sums)) if every else sorted(order[:SHOWN])
    console.print(text["conv"].format(len(sums)), soft_wrap=True)
    record = subject.record.preprocessing
    if found.layer.name == "conv1_1":
        mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (record.mean, record.std))
        console.print(text["fed"].format(mean, std, record.channel_order), soft_wrap=True)
    if len(printed) < len(sums):
        console.print(text["shown"].format(len(printed)))
    for channel in printed:
        colour = f" ({record.channel_order[channel]})" if found.layer.name == "conv1_1" and record.channels > 1 else ""
        console.print(text["channel"].format(f"{channel}{colour}", sums[channel]), soft_wrap=True)
        for numbers, inside in (
            (terms.seen.values[channel], terms.seen.inside), (terms.kernel[channel], None),
            (terms.products[channel], None),
        ):  # fmt: skip
            console.print(output.matrix(numbers, inside), soft_wrap=True)
            console.print()
    if len(printed) < len(sums):
        rest = float(sums.sum() - sums[list(printed)].sum())
        console.print(text["rest"].format(len(sums) - len(printed), rest), soft_wrap=True)
    console.print(text["sum"].format(terms.products.sum(), terms.bias), soft_wrap=True)


def _batch_norm(terms: "BatchNorm", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    numbers = (terms.x, terms.mean, terms.variance, terms.epsilon, terms.scale, terms.shift)
    output.console().print(text["batchnorm"].format(*numbers), soft_wrap=True)


def _local_response(terms: "LocalResponse", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    last = terms.first + len(terms.neighbours) - 1
    values = ", ".join(f"{value:.6g}" for value in terms.neighbours)
    numbers = (terms.first, last, values, terms.squares, terms.x, terms.divisor)
    output.console().print(text["lrn"].format(*numbers), soft_wrap=True)


def _of_one(terms: "Rectifier | Dropout", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    output.console().print(text[found.layer.kind].format(terms.x))


def _max_pooling(terms: "MaxPooling", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    console = output.console()
    console.print(output.matrix(terms.seen.values[0], terms.seen.inside))
    row, column = terms.winner
    console.print(text["pool"].format(terms.seen.top + row, terms.seen.left + column), soft_wrap=True)


def _average_pooling(terms: "AveragePooling", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    console = output.console()
    console.print(output.matrix(terms.seen.values[0], terms.seen.inside), soft_wrap=True)
    console.print(text["average"].format(terms.total, terms.count, terms.count), soft_wrap=True)


def _fully_connected(terms: "FullyConnected", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    console, products = output.console(), terms.products
    shown = terms.largest if every else terms.largest[:LARGEST]
    rows = [
        [str(index), *(f"{value:.6g}" for value in (terms.inputs[index], terms.weights[index], products[index]))]
        for index in shown
    ]
    console.print(text["fc"].format(len(products)), soft_wrap=True)
    console.print(output.table(text["fc_columns"], rows))
    if len(shown) < len(products):
        console.print(text["fc_rest"].format(len(products) - len(shown), products.sum() - products[shown].sum()))
    console.print(text["sum"].format(products.sum(), terms.bias), soft_wrap=True)


def _softmax(terms: "Share", found: "Arithmetic", subject: "Subject", text: Text, every: bool) -> None:
    console, classes = output.console(), subject.record.classes
    order = (-terms.logits).argsort(kind="stable")
    shown = order if every else order[:LARGEST]
    columns = (terms.logits, terms.exponentials, terms.exponentials / terms.total)
    rows = [[classes[i], *(f"{numbers[i]:.7g}" for numbers in columns)] for i in shown]
    console.print(output.table(text["softmax_columns"], rows))
    mine = float(terms.exponentials[terms.index])
    numbers = (terms.logits[terms.index], terms.logits.max(), terms.total, mine, terms.total)
    console.print(text["softmax"].format(*numbers), soft_wrap=True)
    if subject.record.temperature:
        console.print(text["temperature"].format(subject.record.temperature), soft_wrap=True)


PRINTERS: dict[str, Any] = {
    "conv": _convolution,
    "batchnorm": _batch_norm,
    "lrn": _local_response,
    "relu": _of_one,
    "dropout": _of_one,
    "maxpool": _max_pooling,
    "avgpool": _average_pooling,
    "linear": _fully_connected,
    "softmax": _softmax,
}
