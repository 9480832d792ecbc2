"""vgglass look and fc: the layers of a network at work on one image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgglass.cli import output
from vgglass.cli.convert import Download, fetched
from vgglass.cli.output import Language, MaxPixels
from vgglass.errors import UsageError
from vgglass.locale import language, words

if TYPE_CHECKING:
    from vgglass.glass import Look, Subject

SHOWN = 12  # maximum rows of a ranking and channels of a list

Model = Annotated[str, typer.Option(help="A model file, or a pretrained name.")]
Parent = Annotated[
    str | None, typer.Option(help="The model that this one was shrunk from; where its record says without.")
]


def look(
    image: Annotated[Path, typer.Argument(help="The image to look at.")],
    model: Model = "vgg16",
    out: Annotated[Path, typer.Option(help="Folder for the pictures and index.html.")] = Path("look"),
    layers: Annotated[str | None, typer.Option(help="Only these, such as conv1_1,pool3.")] = None,
    scale: Annotated[str, typer.Option(help="One colour scale per map, layer, or all.")] = "map",
    order: Annotated[str, typer.Option(help="Maps by channel, activation or importance.")] = "channel",
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
    parent: Parent = None,
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
    from vgglass import glass, workflows
    from vgglass.glass import ablation, sheets
    from vgglass.glass.subject import class_number

    sheets.require_choice("scale", scale, sheets.SCALES)
    sheets.require_choice("order", order, sheets.ORDERS)
    methods = _methods(subject, attribution)
    if json and not sanity:  # an attribution map adds nothing to the JSON but its sanity checks
        methods = tuple(name for name in methods if name == "class-map")
    seen = glass.look(
        subject,
        glass.LookOptions(
            layers=_parts(layers), attributions=methods, target=class_number(subject, target), sanity=sanity,
            class_model=class_model, dense=dense, position=place, without=ablation.parse(without or []), ranked=rank,
            parent=workflows.load_parent(subject.record, parent),
        ),
    )  # fmt: skip
    if json:
        output.print_json(seen.as_json())
        return
    _print(seen, chosen)
    sentence = glass.write(seen, out, scale=scale, order=order, lang=chosen, arrays=arrays)  # type: ignore[arg-type]
    output.warn(sentence)
    written = words(chosen, "commands")["look"]["written"]
    output.console().print(written.format(page=out / "index.html"), soft_wrap=True)


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
    text, console = words(language(lang), "commands")["fc"], output.console()
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
    same = text["same"].format(difference=found.largest_difference, largest=found.largest_output)
    if found.layer == "fc8":
        pooled = text["pooled"].format(layer=found.layer, shape=size, channels=channels, outputs=outputs)
        console.print(pooled, soft_wrap=True)
        console.print(text["before"].format(inputs=channels, outputs=outputs))
        after = text["after"].format(outputs=outputs, channels=channels, places=height * width)
        console.print(after, soft_wrap=True)
        console.print(same, soft_wrap=True)
        return
    if image is not None:
        becomes = text["fc6"].format(layer=found.layer, shape=size, outputs=outputs, kernels=outputs)
        console.print(becomes, soft_wrap=True)
    console.print(text["matrix"].format(inputs=found.inputs.size, outputs=outputs))
    convolution = text["convolution"].format(outputs=outputs, shape=size, weights=found.weights.size)
    console.print(convolution, soft_wrap=True)
    console.print(same, soft_wrap=True)


def opened(model: str, image: Path, download: bool) -> "Subject":
    """Open an image with a model, downloading pretrained weights first if needed."""
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
    text, kinds = (words(lang, "commands")[place] for place in ("look", "kinds"))
    console = output.console()
    rows = [
        [
            layer.name, kinds[layer.kind], "×".join(map(str, layer.shape)),
            f"{layer.parameters:,}" if layer.parameters else "",
            *(f"{value:.4g}" for value in (layer.minimum, layer.mean, layer.maximum)),
            f"{layer.zeros:.1%}" if layer.kind == "relu" else "", str(len(layer.dead)) if layer.dead else "",
            str(layer.receptive_field.size),
        ]
        for layer in seen.layers
    ]  # fmt: skip
    if seen.ablation:
        console.print(text["silenced"].format(channels=_silenced(seen)))
    console.print(output.table(text["columns"], rows))
    if any(layer.dead for layer in seen.layers):
        console.print(text["dead"])
        for layer in seen.layers:
            if layer.dead:
                named = ", ".join(map(str, layer.dead[:SHOWN]))
                rest = len(layer.dead) - SHOWN
                console.print(f"  {layer.name}: {named}{', ' + text['more'].format(count=rest) if rest > 0 else ''}")
    console.print(text["answer"].format(answer=_answers(seen.top)), soft_wrap=True)
    if seen.ablation:
        after = _answers(seen.ranked_classes(seen.ablation.after))
        console.print(text["answer_without"].format(channels=_silenced(seen), answer=after), soft_wrap=True)
    if seen.subject.record.temperature:
        console.print(text["temperature"].format(temperature=seen.subject.record.temperature), soft_wrap=True)
    _print_extras(seen, lang)


def _answers(top: "list[tuple[str, float]]") -> str:
    return ", ".join(f"{name} {share:.3f}" for name, share in top)


def _silenced(seen: "Look") -> str:
    assert seen.ablation is not None
    return ", ".join(f"{name}:{','.join(map(str, found))}" for name, found in seen.ablation.without.items())


def _print_extras(seen: "Look", lang: str) -> None:
    text, console = words(lang, "commands")["look"], output.console()
    classes = seen.subject.record.classes
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
        console.print(text["class_map"].format(name=classes[seen.target], cell=cell), soft_wrap=True)
        console.print(output.matrix(found.scores), soft_wrap=True)
        sentence = text["class_map_sum"].format(
            places=found.scores.size, mean=found.mean, bias=found.bias, sum=found.recomputed, logit=found.logit,
            difference=found.difference, bound=found.bound,
        )  # fmt: skip
        console.print(sentence, soft_wrap=True)
    if seen.scores:
        share = seen.scores.probabilities[seen.scores.target]
        (height, width), (rows, columns) = seen.scores.image.shape[:2], share.shape
        sentence = text["dense"].format(
            layer=seen.subject.network.architecture.head_layer, width=width, height=height, columns=columns, rows=rows,
            name=classes[seen.scores.target], mean=share.mean(), largest=share.max(),
        )  # fmt: skip
        console.print(sentence, soft_wrap=True)
    if seen.ablation:
        moves = seen.ablation.moves
        console.print(text["without"].format(channels=_silenced(seen)))
        order = abs(moves).argsort(kind="stable")[::-1][:SHOWN]
        before, after = seen.ablation.before, seen.ablation.after
        rows = [[classes[i], f"{before[i]:.4f}", f"{after[i]:.4f}", f"{moves[i]:+.4f}"] for i in order]
        console.print(output.table(text["moves"], rows))
    if seen.parent and seen.parent.removed:
        name = classes[seen.target]
        sentence = text["parent"].format(name=name, before=seen.parent.probability, after=seen.parent.without)
        console.print(sentence, soft_wrap=True)
        rows = [
            [
                layer.layer, str(len(layer.channels)), str(len(seen.parent.kin[layer.layer].kept)),
                f"{layer.shares.sum():.1%}", f"{layer.probability:.3f}",
            ]
            for layer in seen.parent.removed
        ]  # fmt: skip
        console.print(output.table(text["removed"], rows))
    if seen.ranked:
        console.print(text["ranking"].format(layer=seen.ranked, name=seen.top[0][0]))
        rows = [[str(row.channel), f"{row.move:+.4f}", classes[row.winner]] for row in seen.ranking[:SHOWN]]
        console.print(output.table(text["ranked"], rows))
