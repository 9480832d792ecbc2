"""vgglass check --labels."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vgglass.cli import output
from vgglass.cli.convert import fetched
from vgglass.errors import UsageError

if TYPE_CHECKING:
    from vgglass.evaluation.label_review import LabelReview

SHOWN = 10  # suspects printed, and moves
PAIRS = 10  # pairs of classes printed
# The options of each thing that --labels does; --undo and --apply name theirs.
JUDGING: tuple[str, ...] = ("from", "preprocessing", "download", "html", "out", "json")
APPLYING: tuple[str, ...] = ("apply", "manifest", "move", "yes")
UNDOING: tuple[str, ...] = ("undo",)


def require_consistent(given: set[str]) -> None:
    """Raises UsageError for options of `check` that do not go together, where --labels is among them."""
    mode = next((options for options in (APPLYING, UNDOING) if options[0] in given), JUDGING)
    if wrong := sorted(given - {"labels", *mode}):
        beside = "--labels" if mode is JUDGING else f"--{mode[0]}"
        raise UsageError(f"--{wrong[0]}", f"has no place beside {beside}", "leave it out")
    if "apply" in given and not given & {"manifest", "move"}:
        remedy = "add --manifest FILE.parquet, or --move to move files between the class folders"
        raise UsageError("--apply", "writes a manifest or moves files, and neither is asked for", remedy)
    if {"manifest", "move"} <= given:
        raise UsageError("--manifest", "would name files that --move moves", "choose one of them")
    if "yes" in given and "move" not in given:
        raise UsageError("--yes", "lets --move move files", "add --move, or leave it out")


def judge(
    folder: Path, source: str | None, *, preprocessing: str | None, download: bool, html: Path | None, out: Path | None,
    json: bool,
) -> None:  # fmt: skip
    """Review the labels, print the first suspects, and write the page and the list that are asked for."""
    from vgglass import workflows

    if source is None and preprocessing:
        raise UsageError("--preprocessing", "is of the weights that --from names", "add --from, or leave it out")
    if out and out.suffix.lower() != ".csv":
        raise UsageError(f"--out {out}", "the list of suspects is a .csv file", "end it in .csv")
    notes = output.console(stderr=True)
    judges = fetched(source, download) if source else None
    found = workflows.check_labels(folder, judges, preprocessing=preprocessing, console=notes)
    said = output.console(stderr=json)
    if json:
        output.print_json(found.as_json())
    else:
        _show(found, said)
    if html:
        workflows.write_label_page(found, html)
        said.print(f"Written: {html} (open it in a browser, and decide there)", soft_wrap=True)
    if out:
        workflows.write_suspects(found, out)
        said.print(f"Written: {out} (write keep, suggested or remove in its column decision)", soft_wrap=True)
    if found.suspects and not (html or out or json):
        said.print("To decide:  add --html labels.html, or --out labels.csv", soft_wrap=True)


def _show(found: "LabelReview", console: Console) -> None:
    judges = "small networks" if found.penalty is None else "heads"
    agreeing = found.agreeing / found.images
    console.print(
        f"{found.name}: {found.images:,} labels judged by {judges} that did not see the image ({found.folds} folds);"
        f" {found.agreeing:,} agree with the most probable class ({agreeing:.1%})",
        style="bold", soft_wrap=True,
    )  # fmt: skip
    if found.doubtful:
        caution = "these judges are often wrong themselves: name a network that knows more --from"
        console.print(caution, style="yellow", soft_wrap=True)
    console.print(f"Probably wrong: {len(found.suspects):,}", style="bold yellow" if found.suspects else "")
    for suspect in found.suspects[:SHOWN]:
        name = output.visible(suspect.sample.id)
        line = f"  {name}: {suspect.label}, rather {suspect.suggested} (margin {suspect.score:.2f})"
        console.print(line, soft_wrap=True)
    if len(found.suspects) > SHOWN:
        console.print(f"  and {len(found.suspects) - SHOWN:,} more")
    if found.confusion:
        rows = [[pair.label, pair.true, f"{pair.images:.1f}", f"{pair.share:.1%}"] for pair in found.confusion[:PAIRS]]
        console.print("\nEstimated images of another class than their label:")
        console.print(output.table("label|truly|>images|>share of the label", rows))
        if len(found.confusion) > PAIRS:
            console.print(f"and {len(found.confusion) - PAIRS} more pairs of classes")


def apply(folder: Path, decisions: Path, *, manifest: Path | None, yes: bool) -> None:
    """Write the manifest, or print the moves and, with `yes`, move the files."""
    from vgglass import workflows

    said = output.console()
    if manifest:
        workflows.require_manifest_place(manifest)
        dataset, changed = workflows.apply_labels(folder, decisions, manifest, console=output.console(stderr=True))
        counts = output.counted({name: len(samples) for name, samples in dataset.splits.items()})
        said.print(
            f"Written: {manifest}: {counts}; {changed:,} images by your decisions. No file moved.", soft_wrap=True
        )
        said.print(f"Next:    vgglass train {manifest} --out runs/corrected", soft_wrap=True)
        return
    moves = workflows.plan_moves(folder, decisions, console=output.console(stderr=True))
    waiting = moves.waiting()
    for source, target in waiting[:SHOWN]:
        said.print(f"  {output.visible(str(source))} → {output.visible(str(target))}", soft_wrap=True)
    if len(waiting) > SHOWN:
        said.print(f"  and {len(waiting) - SHOWN:,} more")
    if not yes:
        said.print(f"{len(waiting):,} files would move; add --yes to move them", soft_wrap=True)
        return
    moves.carry_out()
    said.print(f"{len(waiting):,} files moved; vgglass check {folder} --labels --undo puts them back", soft_wrap=True)


def undo(folder: Path) -> None:
    from vgglass import workflows

    count = workflows.undo_moves(folder)
    output.console().print(f"{count:,} files put back", soft_wrap=True)
