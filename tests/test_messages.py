"""Every sentence of commands and errors has its Chinese, and what is put into it stays as it is."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sentences
from glass_subjects import model
from typed import vgglass
from vgglass import locale, modelfile
from vgglass.locale.messages import HOLE, catalogue, translated

FOUND = {path.relative_to(sentences.ROOT).as_posix(): sentences.templates(path) for path in sentences.sources()}
ENGLISH = sorted({text for texts in FOUND.values() for text in texts})
KNOWN = {text: chinese for room, texts in catalogue().items() if room != "words" for text, chinese in texts.items()}
HAN = re.compile("[\u4e00-\u9fff]")
# Names, formulas and command lines, which Chinese writes alike.
ALIKE = {
    "logits {0}", "int8", "{0} MiB", "{0} KiB", "vgglass {0}", "Host {0}", "Origin {0}", "folds {0}", "rank {0}",
    "true or false", "crop, pad or squash", "{0} ({1} MB)", "has {0} vgglass", "torch, CUDA graph",
    "top-1                           {0} float32, {1} int8", "vgglass {0}, torch {1}, {2}", "{0}, OpenVINO {1}",
    "an EfficientNet", "a vision transformer", "a DenseNet", "a ResNet", "a ConvNeXt", "a MobileNet", "a SqueezeNet",
    "pip install 'vgglass[torch]'", "vgglass train --out {0} --resume", "{0} serve --model {1}",
    "vgglass train FOLDER --train all --out ANOTHER --from", "{0} look --model {1} {2} --out {3}",
}  # fmt: skip


def test_no_sentence_lacks_its_chinese() -> None:
    missing = [
        f"{path}, line {line}: {text}"
        for path, texts in FOUND.items()
        for text, line in texts.items()
        if text not in KNOWN
    ]
    assert not missing, "add them to locale/zh/messages.json"


def test_no_chinese_is_left_of_a_sentence_that_is_gone() -> None:
    said = ENGLISH | catalogue()["joins"].keys() | catalogue()["system"].keys()
    assert KNOWN.keys() <= said
    assert sum(len(texts) for room, texts in catalogue().items() if room != "words") == len(KNOWN), "one in two rooms"


def test_the_catalogue_is_written_as_other_texts_are() -> None:
    path = sentences.ROOT / "locale" / "zh" / "messages.json"
    text = path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n", "a key twice?"


def test_both_languages_have_the_same_holes() -> None:
    for english, chinese in KNOWN.items():
        holes = sorted(hole[1] for hole in HOLE.finditer(english))
        assert sorted(hole[1] for hole in HOLE.finditer(chinese)) == holes == sorted(set(holes)), english
        assert HAN.search(chinese) or english in ALIKE | catalogue()["joins"].keys(), english


VALUES = st.one_of(st.integers(0, 10**6).map(str), st.from_regex("'[a-z0-9_]{1,8}'", fullmatch=True))


@given(st.sampled_from(ENGLISH), st.lists(VALUES, min_size=10, max_size=10))
def test_what_a_sentence_is_made_of_stays(english: str, values: list[str]) -> None:
    written = english.format(*values)
    chinese = translated(written, "zh")
    assert chinese != written or KNOWN[english] == english
    assert all(value in chinese for value in values[: len(HOLE.findall(english))])
    assert translated(written, "en") == written


def test_every_sentence_is_found_again() -> None:
    for english in ENGLISH:
        values = [", " * (f"}}{{{place}}}" in english) + f"'value{place}'" for place in range(10)]
        filled = HOLE.sub(r"{\1}", KNOWN[english]).format(*values).replace(" ", "")
        assert translated(english.format(*values), "zh").replace(" ", "") == filled, english


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of a person who speaks Chinese: two classes, one list with a mistake, a model."""
    for name in ("猫", "狗"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / name / "1.png")
    (tmp_path / "photos" / "猫" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "list.csv").write_text("path,label\nphotos/猫/1.png\n", encoding="utf-8")
    modelfile.save(model(), tmp_path / "m.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    yield
    locale.speak("en")


MISTAKES = {
    "predict nothing.jpg --model m.safetensors": (1, "nothing.jpg：不存在；请检查路径。"),
    "predict photos --model m.safetensors --out rows.txt": (
        2, "--out rows.txt：结果写入 .csv, .jsonl 或 .parquet 文件；请采用其中一种后缀。",
    ),
    "predict photos --model m.safetensors --actors 2": (2, "--actors：规定集群如何工作；请加上 --ray 及其地址。"),
    "check nothing": (1, "nothing：不是文件夹；请指定每个类别各有一个子文件夹的文件夹，或数据清单。"),
    "check photos --yes": (2, "--yes：把文件移到 --quarantine 指定的文件夹；请加上 --quarantine DIR。"),
    "train list.csv --out run": (
        1, "list.csv 第 2 行：有 1 格，而第一行有 2 格；请修正该行；含有分隔符的单元格要加引号。",
    ),
    "train photos --out run --set width=x": (2, "配方字段 width='x'：必须是数值；默认值为 1.0。"),
    "train photos --out run --resume": (
        1, "run：没有可继续的训练；请去掉 --resume 开始训练；若有残留文件，加上 --overwrite。",
    ),
    "evaluate photos --model m.safetensors --split test": (1, "photos：没有测试图片；请从 all 和 all 中选择。"),
    "export graph.bin --model m.safetensors": (
        2, "graph.bin：导出文件以 .xml 或 .onnx 结尾；请采用其中一种后缀。",
    ),
    "drift rows.csv --model m.safetensors": (
        1, "m.safetensors：没有可供比较的训练记录；请对其文件夹执行 vgglass calibrate。",
    ),
    "serve --model m.safetensors --host 0.0.0.0": (
        2, "--host 0.0.0.0：允许其他机器访问，却不要求令牌；请加上 --token-file FILE；若确有此意，加上 --insecure。",
    ),
    "conv --at 3": (2, "--at 3：不是位置；请写成 Y,X，例如 10,12。"),
    "softmax 1 nan": (2, "logits [1.0, nan]：必须有限，除以温度之后也一样；请去掉其余的。"),
}  # fmt: skip


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_told_in_chinese(photos: None, line: str) -> None:
    status, sentence = MISTAKES[line]
    assert vgglass(*shlex.split(line), status=status).stderr.splitlines()[-1] == f"错误：{sentence}"


def test_results_and_hints_are_told_in_chinese(photos: None) -> None:
    Path("m.safetensors").rename("模型.safetensors")
    written = vgglass("predict", "photos", "--model", "模型.safetensors", "--out", "行.csv", status=1)
    assert (written.stdout, written.stderr.splitlines()[-1]) == ("3 行：行.csv\n", "3 张图片中有 1 张无法读取")
    again = vgglass("predict", "photos", "--model", "模型.safetensors", "--out", "行.csv", "--resume")
    assert again.stdout == "没有剩下的工作：行.csv 已完成；要重新预测请去掉 --resume\n"
    table = vgglass("predict", "photos", "--model", "模型.safetensors", status=1).stdout
    assert table.split()[:4] == ["图片", "类别", "概率", "其次可能的类别"]
    assert "photos/猫/bad.jpg   已损坏（第一次扫描之前没有帧）" in table
    examined = vgglass("check", "photos", status=1).stdout.splitlines()
    assert examined[:2] == [
        "photos：3 个文件，2 个可读，0.0 MB", "photos 理解为未划分：2 个类别，3 张图片（狗, 猫）。",
    ]  # fmt: skip
    assert "无法读取的文件 (unreadable): 1" in examined


def test_lang_wins(photos: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vgglass("conv", "--at", "3", "--lang", "en", status=2).stderr.startswith("error: --at 3: is not a position")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert vgglass("conv", "--at", "3", "--lang", "zh", status=2).stderr.startswith("错误：--at 3：不是位置")
    assert vgglass("conv", "--at", "3", status=2).stderr.startswith("error: "), "the next command has its own"


def test_names_stay() -> None:
    """A folder may be called as a piece of a sentence is."""
    for name in ("cats and dogs", "layer 2", "my images", "3 to 5 years", "train", "type a, type b"):
        said = translated(f"{name} holds no images", "zh")
        assert said == f"{name} 中没有图片"
