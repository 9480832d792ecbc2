"""The table of speeds in README.md and README.zh-CN.md, measured on this machine between their two markers.

VGG-16 with random weights and its int8 graph, or the models that are named. Close other programs first.
"""

import argparse
import tempfile
from pathlib import Path

from prediction import gather, models
from vgglass import workflows
from vgglass.benchmark.report import Report, Row

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- speeds: written by make readme -->", "<!-- end of speeds -->"
PAGES = {
    "README.md": (
        "{about} with random weights: images a second, and how many times as quick as eager PyTorch in float32 (medians"
        " of one run of `vgglass bench`, in which all take turns); below, smaller networks, for their speed alone."
        " {machine}; {versions}; load {load:.1f} at the start.",
        "engine, precision",
        "batch {batch}",
        " **The machine was busy with other programs, so that these figures are too low; `make readme` measures them"
        " again.**",
    ),
    "README.zh-CN.md": (
        "{about}，随机权重：每秒图像数，括号内是相对 PyTorch eager（float32）的速度倍数（`vgglass bench` 一次运行，"
        "各项轮流计时，取中位数）；表格末尾是几个较小的网络，只比速度。{machine}；{versions}；开始时负载 {load:.1f}。",
        "引擎、精度",
        "批大小 {batch}",
        "**测量时本机正忙于其他程序，这些数字偏低；可用 `make readme` 重新测量。**",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--seconds", type=float, default=300)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report = workflows.bench(chosen.models or random(Path(name)), seconds=chosen.seconds)
    for page, words in PAGES.items():
        path = ROOT / page
        path.write_text(replaced(path.read_text("utf-8"), block(report, *words)), "utf-8")


def random(folder: Path) -> list[Path]:
    file, _, small = models(folder, gather(folder / "photographs", 80))
    return [file, small]


def replaced(page: str, text: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def block(report: Report, sentence: str, first: str, column: str, busy: str) -> str:
    """The table as Markdown: a row an engine and precision, a column a batch size."""
    machine = report.machine
    said = sentence.format(
        machine=machine.gpu or f"{machine.processor}, {machine.cores} cores",
        versions=", ".join(f"{name} {version}" for name, version in machine.versions.items()),
        load=machine.load,
        about=" ".join(report.tables[0].about.split(", ")[:2]),
    )
    rows = [row for table in report.tables for row in table.rows if not (row.is_eager and table != report.tables[0])]
    batches = sorted({row.speed.batch for row in rows})
    cells = {(name(row), row.speed.batch): cell(row) for row in rows}
    cells |= {(f"{row.network}, {name(row)}", row.speed.batch): speed(row) for row in report.peers}
    lines = [[first, *(column.format(batch=batch) for batch in batches)], ["---", *["---:"] * len(batches)]]
    lines += [
        [label, *(cells[label, batch] for batch in batches)] for label in dict.fromkeys(label for label, _ in cells)
    ]
    return "\n".join([said + busy * machine.is_busy, "", *(f"| {' | '.join(line)} |" for line in lines)])


def name(row: Row) -> str:
    return f"{row.engine}, {row.precision}"


def cell(row: Row) -> str:
    return f"{speed(row)} ({row.times_as_quick:.2f} ×)" if row.times_as_quick else speed(row)


def speed(row: Row) -> str:
    return f"{row.speed.images_per_second:.3g}"


if __name__ == "__main__":
    main()
