"""vgglass check."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from vgglass.cli import labels, output
from vgglass.cli.convert import Download, Preprocessing
from vgglass.cli.output import MaxPixels
from vgglass.errors import UsageError
from vgglass.locale import spoken, words

if TYPE_CHECKING:
    from vgglass.data.audit import Audit, Case

SHOWN = 10  # maximum cases printed per kind
FILES = 4  # maximum files printed per case


def check(
    folder: Annotated[Path, typer.Argument(help="One subfolder a class, flat or in train/val/test; or a manifest.")],
    recipe: Annotated[str | None, typer.Option(help="Whose crop is judged: a shipped name or a .toml file.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the network's input; the recipe's without.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Write the readable images, divided, to this .parquet; sides in it are kept.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with the images concerned.")] = None,
    quarantine: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write DIR/quarantine.csv: what ought to go, and why.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="And move those files to DIR.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Everything for a program.")] = False,
    labels_: Annotated[bool, typer.Option("--labels", help="Find labels that are probably wrong instead.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="MODEL", help="With --labels: whose features judge. Without: small networks are trained."
        ),
    ] = None,
    preprocessing: Preprocessing = None,
    out: Annotated[Path | None, typer.Option(help="With --labels: write the suspects to this .csv.")] = None,
    apply: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="With --labels: write a --manifest with the decisions in this list."),
    ] = None,
    move: Annotated[
        bool, typer.Option("--move", help="With --apply: or move files; which ones, without --yes.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="With --labels: put back what the last --move moved.")] = False,
    download: Download = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Audit a folder before training: what is broken, odd, doubled or leaked.

    Exit status 1 where something damages training or the score, which these kinds do:
    unreadable, empty-file, truncated, damaged: what can't be read, or not whole;
    too-narrow: can't be resized;
    label-conflict, leak: one picture under two classes, or in two splits. Otherwise 0.

    The other kinds that it knows:
    duplicate, near-duplicate: the same picture twice;
    imbalance: a class of three times another's images;
    class-names: alike but for case; empty-class: a folder without images;
    no-class: images in no class's folder; no-image: neither by name nor by content;
    system-file: thumbnails, recycle bins, hidden files; linked-twice: reached again by a link;
    wrong-suffix, odd-format: another format than the name or the others have;
    animated: several frames; odd-mode: CMYK, alpha, palettes; deep: over 8 bits;
    rotated: by EXIF; extreme-aspect: a side three times the other;
    large-cut: the crop takes most away; small: less than the network's input.

    With --labels, heads that did not see an image judge its label (confident learning): the suspects, the nearest
    images of either class, and how often one class is labelled as another. Exit status 0. Decide on the page of --html
    or in the list of --out, then --apply the list; no file moves but by --move --yes, and --undo puts all back.
    """
    given = {
        "labels": labels_, "recipe": recipe, "image-size": image_size, "manifest": manifest, "html": html,
        "quarantine": quarantine, "yes": yes, "json": json, "from": source, "preprocessing": preprocessing, "out": out,
        "apply": apply, "move": move, "undo": undo, "download": download,
    }  # fmt: skip
    asked = {name for name, value in given.items() if value}
    if labels_:
        labels.require_consistent(asked)
        if undo:
            labels.undo(folder)
        elif apply:
            labels.apply(folder, apply, manifest=manifest, yes=yes)
        else:
            labels.judge(
                folder, source, preprocessing=preprocessing, download=download, html=html, out=out, json=json
            )  # fmt: skip
        return
    if alone := sorted(asked & {"from", "preprocessing", "out", "apply", "move", "undo", "download"}):
        raise UsageError(f"--{alone[0]}", "belongs to --labels", "add --labels")
    _audit(
        folder, recipe=recipe, image_size=image_size, manifest=manifest, html=html, quarantine=quarantine, yes=yes,
        json=json,
    )  # fmt: skip


def _audit(
    folder: Path, *, recipe: str | None, image_size: int | None, manifest: Path | None, html: Path | None,
    quarantine: Path | None, yes: bool, json: bool,
) -> None:  # fmt: skip
    """Audit, print what was found, and write what is asked for."""
    if yes and quarantine is None:
        raise UsageError("--yes", "moves files to the folder of --quarantine", "add --quarantine DIR")
    if yes and manifest:
        raise UsageError("--manifest", "would name files that --yes moves away", "write it in a second run")
    from vgglass import workflows

    if quarantine:
        workflows.require_quarantine_place(folder, quarantine)
    if manifest:
        workflows.require_manifest_place(manifest)
    found = workflows.check(folder, recipe=recipe, image_size=image_size)
    notes = output.console(stderr=json)
    if json:
        output.print_json(found.as_json())
    else:
        _show(found, notes)
    if html:
        workflows.write_audit_page(found, html)
        notes.print(f"Written: {html} (open it in a browser)", soft_wrap=True)
    if quarantine:
        path, count = workflows.quarantine(found, quarantine, moving=yes)
        moved = "moved there" if yes else "ought to go; add --yes to move them there"
        notes.print(f"Written: {path}: {count} files {moved}", soft_wrap=True)
    if manifest:
        dataset = workflows.write_manifest(found, manifest)
        counts = output.counted({name: len(samples) for name, samples in dataset.splits.items()})
        notes.print(f"Written: {manifest}: {counts}", soft_wrap=True)
        if torn := workflows.between_splits(dataset):
            notes.print(f"left out {len(torn)} that would join two splits:", style="yellow")
            notes.print(*(output.visible(f"{name}: {reason}") for name, reason in torn), sep="\n", soft_wrap=True)
    if found.serious:
        raise typer.Exit(1)


def _show(audit: "Audit", console: Console) -> None:
    text, facts = words(spoken(), "audit"), audit.as_json()
    console.print(
        f"{facts['name']}: {facts['files']:,} files, {facts['readable']:,} readable, {facts['bytes'] / 1e6:,.1f} MB",
        style="bold", soft_wrap=True,
    )  # fmt: skip
    if facts["understood"]:
        console.print(facts["understood"], markup=False, highlight=False, soft_wrap=True)
    console.print(output.counted({text["splits"][name]: count for name, count in facts["splits"].items()}))
    if formats := {name: count for name, count in facts["formats"].items() if name}:
        console.print(output.counted(formats))
    if facts["median_cut"] is not None:
        cut = f"{facts['median_cut']:.0%}"
        note = text["cropNote"][facts["fit"]].format(resized=facts["resize"], side=facts["size"], cut=cut)
        console.print(note, soft_wrap=True)
    rows = [[row.name, f"{row.images:,}", f"{row.effective:.1f}"] for row in audit.balance]
    console.print()
    console.print(output.table("class|>training images|>effective number", rows))
    if audit.ratio:
        console.print(f"largest class by smallest: {audit.ratio:.2f}")
    for kind, cases in audit.findings.items():
        style = "bold red" if audit.is_serious(kind) else "bold yellow"
        console.print(f"\n{text['kinds'][kind]} ({kind}): {len(cases)}", style=style)
        console.print(text["kindNotes"][kind], soft_wrap=True)
        if kind == "leak":
            for row in audit.flattery:
                sentence = text["flattery"].format(
                    twins=row.twins, images=row.images, split=text["splits"][row.split], points=f"{row.points:.1f}"
                )
                console.print(sentence, soft_wrap=True)
        template = text["kindDetails"].get(kind, "{detail}")
        for case in cases[:SHOWN]:
            console.print(f"  {output.visible(_line(audit, case, template))}", soft_wrap=True)
        if len(cases) > SHOWN:
            console.print(f"  {text['more'].format(count=len(cases) - SHOWN)}")
    if not audit.findings:
        console.print(f"\n{text['nothing']}")


def _line(audit: "Audit", case: "Case", template: str) -> str:
    names = [case.path] if case.path else [entry.id for entry in case.entries[:FILES]]
    if len({entry.label for entry in case.entries}) > 1:
        names = [f"{entry.id} ({audit.label(entry)})" for entry in case.entries[:FILES]]
    more = f" and {len(case.entries) - FILES} more" if len(case.entries) > FILES else ""
    detail = template.format(detail=case.detail) if case.detail else ""
    changes = ", ".join(words(spoken(), "audit")["copies"][change] for change in case.changes)
    return ": ".join(part for part in (" = ".join(names) + more, detail, changes) if part)
