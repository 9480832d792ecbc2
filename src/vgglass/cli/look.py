"""vgglass look and fc: the layers of a network at work on one image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgglass.cli import output
from vgglass.cli.allowing import MaxPixels
from vgglass.cli.convert import Download, fetched
from vgglass.cli.output import KINDS, Language, language
from vgglass.errors import UsageError

if TYPE_CHECKING:
    from vgglass.glass import Look, Subject

TEXT = {
    "en": {
        "columns": "layer|kind|>W×H×C|>parameters|>min|>mean|>max|>zeros|>dead here|>receptive field",
        "dead": "Channels that are zero everywhere on this image:",
        "more": "and {} more",
        "answer": "Answer: {}", "answer_without": "Answer without {}: {}",
        "silenced": "Figures with these channels silenced: {}",
        "sanity_note": "A map that means something has a lower deletion and a higher insertion than random order.",
        "temperature": "The answer is the softmax of the logits divided by the model's temperature {:g}; the layer prob"
        " does not divide them.",
        "moves": "class|>logit before|>after|>move",
        "without": "Without {}: the logits that move most",
        "ranking": "Channels of {} by what silencing one does to the logit of {}",
        "ranked": ">channel|>move|then the answer is", "written": "Written: {} (open it in a browser)",
        "sanity": "attribution|>rank correlation with random weights|>deletion|>random order|>insertion|>random order",
        "class_map": "Class map of {}: what each place of pool5 says for it (above 0) or against it; a place is {}"
        " pixels of the input and sees more than that.",
        "class_map_sum": "mean of the {} places {:.9g} + bias {:.9g} = {:.9g}   network = {:.9g}   difference = {:.2g}"
        "   (allowed {:.2g} = 1e-5 × (Σ|terms| + |bias|))",
        "dense": "{} to fc8 as convolutions over the whole {}×{} image: {}×{} places (width × height); the probability"
        " of {} is {:.3f} on average, {:.3f} at most",
        "preset": "The study note's question: how does 3×3×5 become 1×4096? By 4096 kernels of 3×3×5, each as large as"
        " the input, so that each fits in one place and gives one number. Here with random numbers.",
        "fc6": "{}: an input of {} (H×W×C) becomes 1×{} by {} kernels of the input's own size.",
        "matrix": "as a matrix:      ({0}) times ({1}×{0}) transposed: {1} numbers",
        "convolution": "as a convolution: {0} kernels of {1}: the same {2:,} weights, and an output of 1×1×{0}",
        "pooled": "{}: an input of {} (H×W×C) is averaged to 1×{} and becomes {} logits; averaging is linear, and may"
        " come before the layer or after it.",
        "before": "averaged first: ({0}) times ({1}×{0}) transposed: {1} numbers",
        "after": "scored first:   {0} kernels of 1×1×{1} at each of {2} places, then the mean of each of the {0} maps",
        "same": "largest difference of the two {:.3g}, where the outputs reach ±{:.4g}",
    },
    "zh": {
        "columns": "层|类型|>宽×高×通道|>参数量|>最小|>平均|>最大|>零的比例|>全零通道数|>感受野",
        "dead": "在这张图上处处为零的通道：",
        "more": "另有 {} 个",
        "answer": "结果：{}", "answer_without": "屏蔽 {} 之后的结果：{}",
        "silenced": "屏蔽这些通道之后的数值：{}",
        "sanity_note": "可信的归因图：删除应低于随机顺序，插入应高于随机顺序。",
        "temperature": "结果是 logits 除以模型的温度 {:g} 之后的 softmax；prob 层本身不除以温度。",
        "moves": "类别|>屏蔽前的 logit|>屏蔽后|>变化",
        "without": "屏蔽 {}：变化最大的 logits",
        "ranking": "按屏蔽单个通道后 {1} 的 logit 变化排列 {0} 的通道",
        "ranked": ">通道|>变化|此时的结果", "written": "已写入：{}（用浏览器打开）",
        "sanity": "归因|>与随机权重的秩相关|>删除|>随机顺序|>插入|>随机顺序",
        "class_map": "{} 的类别图：pool5 的每个位置对这一类的支持（大于 0）或反对；一个位置对应输入的 {} 个像素，"
        "而它看到的范围更大。",
        "class_map_sum": "{} 个位置的平均 {:.9g} + 偏置 {:.9g} = {:.9g}   网络 = {:.9g}   差 = {:.2g}"
        "   （允许 {:.2g} = 1e-5 ×（Σ|各项| + |偏置|））",
        "dense": "把 {} 至 fc8 当作卷积扫过整张 {}×{} 的图：{}×{} 个位置（宽×高）；{} 的概率"
        "平均为 {:.3f}，最大为 {:.3f}",
        "preset": "学习笔记的问题：3×3×5 如何变成 1×4096？用 4096 个 3×3×5 的卷积核，每个都与输入一样大，"
        "只有一个位置可放，于是各得一个数。此处用随机数演示。",
        "fc6": "{0}：{1}（高×宽×通道）的输入经 {3} 个与输入同样大小的卷积核变成 1×{2}。",
        "matrix": "按矩阵计算：({0}) 乘以 ({1}×{0}) 的转置，得 {1} 个数",
        "convolution": "按卷积计算：{0} 个 {1} 的卷积核，同样的 {2:,} 个权重，输出 1×1×{0}",
        "pooled": "{0}：{1}（高×宽×通道）的输入平均成 1×{2}，再得到 {3} 个 logits；"
        "平均是线性运算，放在这一层之前或之后均可。",
        "before": "先平均：({0}) 乘以 ({1}×{0}) 的转置，得 {1} 个数",
        "after": "先打分：{0} 个 1×1×{1} 的卷积核用于 {2} 个位置，再对 {0} 张图各取平均",
        "same": "两者最大差 {:.3g}，输出的绝对值最大为 {:.4g}",
    },
}  # fmt: skip
SHOWN = 12  # rows of a ranking, channels of a list

Model = Annotated[str, typer.Option(help="A model file, or a pretrained name.")]


def look(
    image: Annotated[Path, typer.Argument(help="The image to look at.")],
    model: Model = "vgg16",
    out: Annotated[Path, typer.Option(help="Folder for the pictures and index.html.")] = Path("look"),
    layers: Annotated[str | None, typer.Option(help="Only these, such as conv1_1,pool3.")] = None,
    scale: Annotated[str, typer.Option(help="One colour scale per map, layer, or all.")] = "map",
    order: Annotated[str, typer.Option(help="Maps by channel or activation.")] = "channel",
    attribution: Annotated[
        str | None,
        typer.Option(
            help="class-map (pooled head), saliency, smoothgrad, gradcam[:LAYER], occlusion, integrated-gradients; all;"
            " none. Without: saliency and class-map, or gradcam for the paper's head."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The class to explain; the predicted one without.")] = None,
    sanity: Annotated[bool, typer.Option("--sanity", help="Check every attribution.")] = False,
    class_model: Annotated[bool, typer.Option("--class-model", help="Draw the class's ideal image.")] = False,
    dense: Annotated[bool, typer.Option("--dense", help="Class scores over the whole image.")] = False,
    at: Annotated[str | None, typer.Option(help="Whose receptive fields: row and column as Y,X; the middle.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Silence channels: conv3_2:17; may repeat.")] = None,
    rank: Annotated[str | None, typer.Option(help="Rank this layer's channels by their effect.")] = None,
    arrays: Annotated[bool, typer.Option("--arrays", help="Also the maps as .npy files.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The numbers alone; no picture is written.")] = False,
    download: Download = False,
    lang: Language = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Every layer as pictures and numbers, with a page to open."""
    chosen, place = language(lang), output.position(at)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}", "is a file", "name a folder")
    subject = opened(model, image, download)
    from vgglass import glass
    from vgglass.glass import ablation, sheets
    from vgglass.glass.subject import class_number

    sheets.require_choice("scale", scale, sheets.SCALES)
    sheets.require_choice("order", order, sheets.ORDERS)
    methods = _methods(subject, attribution)
    if json and not sanity:  # other maps have no numbers to print but those of their checks
        methods = tuple(name for name in methods if name == "class-map")
    seen = glass.look(
        subject,
        glass.LookOptions(
            layers=_parts(layers), attributions=methods, target=class_number(subject, target), sanity=sanity,
            class_model=class_model, dense=dense, position=place, without=ablation.parse(without or []), ranked=rank,
        ),
    )  # fmt: skip
    if json:
        output.print_json(seen.as_json())
        return
    _print(seen, chosen)
    sentence = glass.write(seen, out, scale=scale, order=order, lang=chosen, arrays=arrays)  # type: ignore[arg-type]
    output.warn(sentence)
    output.console().print(TEXT[chosen]["written"].format(out / "index.html"), soft_wrap=True)


def fc(
    image: Annotated[Path | None, typer.Argument(help="An image; without one the study note's 3×3×5.")] = None,
    model: Annotated[str | None, typer.Option(help="For an image: a model file, or a pretrained name; vgg16.")] = None,
    download: Download = False,
    lang: Language = None,
    max_pixels: MaxPixels = None,
) -> None:
    """A fully connected layer as a convolution: the same numbers both ways."""
    from vgglass import workflows

    workflows.require_torch("the glass")
    text, console = TEXT[language(lang)], output.console()
    if image is None:
        if model is not None:
            raise UsageError(f"--model {model}", "needs an image to look at", "name one, or leave the model out")
        from vgglass.glass import dense

        found = dense.preset()
        console.print(text["preset"], soft_wrap=True)
    else:
        from vgglass import glass

        found = glass.both_ways(opened(model or "vgg16", image, download))
    channels, height, width = found.input_shape
    size, outputs = f"{height}×{width}×{channels}", len(found.connected)
    if found.layer == "fc8":
        console.print(text["pooled"].format(found.layer, size, channels, outputs), soft_wrap=True)
        console.print(text["before"].format(channels, outputs))
        console.print(text["after"].format(outputs, channels, height * width), soft_wrap=True)
        console.print(text["same"].format(found.largest_difference, found.largest_output), soft_wrap=True)
        return
    if image is not None:
        console.print(text["fc6"].format("fc6", size, outputs, outputs), soft_wrap=True)
    console.print(text["matrix"].format(found.inputs.size, outputs))
    console.print(text["convolution"].format(outputs, size, found.weights.size), soft_wrap=True)
    console.print(text["same"].format(found.largest_difference, found.largest_output), soft_wrap=True)


def opened(model: str, image: Path, download: bool) -> "Subject":
    """The image before the model, whose weights are fetched first where they are asked for by name."""
    from vgglass import workflows

    workflows.require_torch("the glass")
    from vgglass import glass

    return glass.open_subject(workflows.load(fetched(model, download)), image)


def _methods(subject: "Subject", attribution: str | None) -> tuple[str, ...]:
    from vgglass.glass.attribution import methods, usual

    network = subject.network.architecture
    if attribution is None:
        return "saliency", usual(network)
    return {"all": methods(network), "none": ()}.get(attribution, _parts(attribution))


def _parts(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _print(seen: "Look", lang: str) -> None:
    text, console = TEXT[lang], output.console()
    rows = [
        [
            layer.name, KINDS[lang][layer.kind], "×".join(map(str, layer.shape)),
            f"{layer.parameters:,}" if layer.parameters else "",
            *(f"{value:.4g}" for value in (layer.minimum, layer.mean, layer.maximum)),
            f"{layer.zeros:.1%}" if layer.kind == "relu" else "", str(len(layer.dead)) if layer.dead else "",
            str(layer.receptive_field),
        ]
        for layer in seen.layers
    ]  # fmt: skip
    if seen.ablation:
        console.print(text["silenced"].format(_silenced(seen)))
    console.print(output.table(text["columns"], rows))
    if any(layer.dead for layer in seen.layers):
        console.print(text["dead"])
        for layer in seen.layers:
            if layer.dead:
                named = ", ".join(map(str, layer.dead[:SHOWN]))
                rest = len(layer.dead) - SHOWN
                console.print(f"  {layer.name}: {named}{', ' + text['more'].format(rest) if rest > 0 else ''}")
    console.print(text["answer"].format(_answers(seen.top)), soft_wrap=True)
    if seen.ablation:
        after = _answers(seen.ranked_classes(seen.ablation.after))
        console.print(text["answer_without"].format(_silenced(seen), after), soft_wrap=True)
    if seen.subject.record.temperature:
        console.print(text["temperature"].format(seen.subject.record.temperature), soft_wrap=True)
    _print_extras(seen, lang)


def _answers(top: "list[tuple[str, float]]") -> str:
    return ", ".join(f"{name} {share:.3f}" for name, share in top)


def _silenced(seen: "Look") -> str:
    assert seen.ablation is not None
    return ", ".join(f"{name}:{','.join(map(str, found))}" for name, found in seen.ablation.without.items())


def _print_extras(seen: "Look", lang: str) -> None:
    text, console, classes = TEXT[lang], output.console(), seen.subject.record.classes
    if seen.checks:
        rows = [
            [
                found.name,
                "—" if check.correlation is None else f"{check.correlation:.3f}",
                *(f"{area:.3f}" for area in check.areas().values()),
            ]
            for found, check in zip(seen.attributions, seen.checks, strict=True)
        ]
        console.print(output.table(text["sanity"], rows))
        console.print(text["sanity_note"])
    if seen.class_map:
        found, cell = seen.class_map, f"{seen.class_map.cell}×{seen.class_map.cell}"
        console.print(text["class_map"].format(classes[seen.target], cell), soft_wrap=True)
        console.print(output.matrix(found.scores), soft_wrap=True)
        figures = found.mean, found.bias, found.recomputed, found.logit, found.difference, found.bound
        console.print(text["class_map_sum"].format(found.scores.size, *figures), soft_wrap=True)
    if seen.scores:
        share = seen.scores.probabilities[seen.scores.target]
        height, width = seen.scores.image.shape[:2]
        name = classes[seen.scores.target]
        sentence = text["dense"].format(
            seen.subject.network.architecture.head_layer,
            width,
            height,
            *share.shape[::-1],
            name,
            share.mean(),
            share.max(),
        )
        console.print(sentence, soft_wrap=True)
    if seen.ablation:
        moves = seen.ablation.moves
        console.print(text["without"].format(_silenced(seen)))
        order = abs(moves).argsort(kind="stable")[::-1][:SHOWN]
        before, after = seen.ablation.before, seen.ablation.after
        rows = [[classes[i], f"{before[i]:.4f}", f"{after[i]:.4f}", f"{moves[i]:+.4f}"] for i in order]
        console.print(output.table(text["moves"], rows))
    if seen.ranked:
        console.print(text["ranking"].format(seen.ranked, seen.top[0][0]))
        rows = [[str(row.channel), f"{row.move:+.4f}", classes[row.winner]] for row in seen.ranking[:SHOWN]]
        console.print(output.table(text["ranked"], rows))
