"""English or Chinese: which one a person reads, and the words that several commands share."""

import os
from typing import Annotated

import typer

from vgglass.errors import UsageError

LANGUAGES = ("en", "zh")
Language = Annotated[str | None, typer.Option(help="en or zh; by the locale without.")]

_KINDS_ZH = {
    "image": "图像", "conv": "卷积", "batchnorm": "批归一化", "relu": "ReLU", "lrn": "局部响应归一化",
    "maxpool": "最大池化", "avgpool": "平均池化", "linear": "全连接", "dropout": "随机失活", "softmax": "softmax",
}  # fmt: skip
KINDS = {"en": {kind: kind for kind in _KINDS_ZH}, "zh": _KINDS_ZH}


def language(given: str | None) -> str:
    """'en' or 'zh': as given, else by the locale. Raises UsageError."""
    if given is None:
        locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
        return "zh" if locale.startswith("zh") else "en"
    if given not in LANGUAGES:
        raise UsageError(f"--lang {given}", f"not one of {', '.join(LANGUAGES)}", "choose one of them")
    return given
