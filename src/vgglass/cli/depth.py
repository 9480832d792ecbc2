"""vgglass relu --depth: the study note's four claims about ReLU, each with its number and picture."""

from pathlib import Path

from vgglass.cli import output

COLUMNS = ("A", "E")
TEXT = {
    "en": {
        "about": "The study note's four claims about ReLU, tested: columns A and E at an eighth of their"
        " width on the embedded digits, with ReLU, tanh and sigmoid"
        " throughout; the same start (He's, with each function's gain) and the same {} steps.",
        "gradients": "Norm of the first batch's gradient by each layer's weights, before any training",
        "True": "holds here", "False": "does not hold here",
        "None": "not settled: the timings disagree, the machine is busy",
        "cheap": "1. Cheap ({}): {:.2f} ns a number by one thread; tanh {:.2f}{}, sigmoid {:.2f}{}.",
        "times": " ({:.1f} times)",
        "sparse": "2. Sparse ({}): {:.0%} of the outputs in column E are exactly zero; tanh {:.0%}, sigmoid {:.0%}.",
        "linear": "3. Linear piece by piece ({}): |f(2x) - 2 f(x)| reaches {:.2g} of the largest output; tanh {:.2g},"
        " sigmoid {:.2g}. Its slope at 3 is {:.3g}; tanh's {:.2g}, sigmoid's {:.2g}.",
        "deep": "4. Trains deep ({}): in column E the first layer's gradient is {:.2g} of the last one's; tanh {:.2g},"
        " sigmoid {:.2g}. Loss after {} steps (a guess has 2.303): {:.3f}; tanh {:.3f}, sigmoid {:.3f}."
        " More than a guess: {}.",
        "written": "Written: {}",
    },
    "zh": {
        "about": "检验学习笔记关于 ReLU 的四个说法：在内置手写数字上"
        "比较 A 列与 E 列（宽度缩为八分之一），激活函数分别全用 ReLU、tanh、sigmoid；"
        "相同的初始化（He 初始化，采用各函数的增益），相同的 {} 步训练。",
        "gradients": "训练之前，由第一个批次求得的各层权重梯度的范数",
        "True": "在此成立", "False": "在此不成立", "None": "无法判断：机器繁忙，多次计时不一致",
        "cheap": "1. 计算开销小（{}）：单线程每个数 {:.2f} 纳秒；tanh {:.2f}{}，sigmoid {:.2f}{}。",
        "times": "（{:.1f} 倍）",
        "sparse": "2. 稀疏（{}）：E 列中 {:.0%} 的输出恰好为零；tanh {:.0%}，sigmoid {:.0%}。",
        "linear": "3. 分段线性（{}）：|f(2x) - 2 f(x)| 最大为最大输出的 {:.2g} 倍；tanh {:.2g}，sigmoid {:.2g}。"
        "在 3 处的斜率为 {:.3g}；tanh {:.2g}，sigmoid {:.2g}。",
        "deep": "4. 深层也能训练（{}）：E 列第一层的梯度是最后一层的 {:.2g} 倍；tanh {:.2g}，sigmoid {:.2g}。"
        "{} 步之后的损失（随机猜测为 2.303）：{:.3f}；tanh {:.3f}，sigmoid {:.3f}。优于随机猜测的有：{}。",
        "written": "已写入：{}",
    },
}  # fmt: skip


def depth(out: Path, lang: str) -> None:
    """Measure, print and draw."""
    from vgglass import workflows

    workflows.require_torch("operations on images")
    import torch

    from vgglass.glass import nonlinearities, sheets

    text, console = TEXT[lang], output.console()
    console.print(text["about"].format(nonlinearities.STEPS), soft_wrap=True)
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
    by_tanh, by_sigmoid = ("" if ratio is None else text["times"].format(ratio) for ratio in ratios)
    console.print(
        text["cheap"].format(holds[0], relu.nanoseconds, tanh.nanoseconds, by_tanh, sigmoid.nanoseconds, by_sigmoid),
        text["sparse"].format(holds[1], *(run.zeros for run in deep)),
        text["linear"].format(holds[2], *(row.doubling for row in costs), *(row.slope for row in costs)),
        text["deep"].format(
            holds[3], *(run.reach for run in deep), nonlinearities.STEPS, *(run.losses[-1] for run in deep),
            ", ".join(sheets.NAMES[run.function] for run in deep if run.learned) or "—",
        ),
        sep="\n", soft_wrap=True,
    )  # fmt: skip
    output.warn(sheets.claims(costs, list(found.values()), out, lang))
    console.print(text["written"].format(out), soft_wrap=True)
