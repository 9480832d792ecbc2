"""vgglass relu --depth: the study note's four claims about ReLU, each with its number and picture."""

from pathlib import Path

from vgglass.cli import output
from vgglass.locale import words

COLUMNS = ("A", "E")


def depth(out: Path, lang: str) -> None:
    """Measure, print and draw."""
    from vgglass import workflows

    workflows.require_torch("operations on images")
    import torch

    from vgglass.glass import nonlinearities, sheets

    text, console = words(lang, "commands")["depth"], output.console()
    console.print(text["about"].format(steps=nonlinearities.STEPS), soft_wrap=True)
    torch.manual_seed(nonlinearities.SEED)
    costs = nonlinearities.respond(torch.randn(256, 256))
    names = list(nonlinearities.FUNCTIONS)
    found = {
        (column, name): nonlinearities.depth(column, name, nonlinearities.STEPS) for column in COLUMNS for name in names
    }
    console.print(text["gradients"])
    for column in COLUMNS:
        runs = [found[column, name] for name in names]
        rows = [[layer, *(f"{run.gradients[index]:.3g}" for run in runs)] for index, layer in enumerate(runs[0].layers)]
        console.print(output.table("|>".join([column, "ReLU", "tanh", "sigmoid"]), rows))
    relu, tanh, sigmoid = costs
    deep = [found[COLUMNS[-1], name] for name in names]
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
            learned=", ".join(sheets.NAMES[run.function] for run in deep if run.learned) or "—",
        ),
        sep="\n", soft_wrap=True,
    )  # fmt: skip
    output.warn(sheets.claims(costs, list(found.values()), out, lang))
    console.print(text["written"].format(picture=out), soft_wrap=True)
