"""The command line as a person types it: what it prints, its exit status, its files, its options."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image

from foreign_networks import torchvision_network
from typed import interpreted, vgglass
from vgglass import modelfile
from vgglass.data import sources

OPTIONS = {
    "demo": "--out",
    "check": "--apply --download --from --html --image-size --json --labels --manifest --max-pixels --move --out"
    " --preprocessing --quarantine --recipe --undo --yes",
    "train": "--add --architecture --batch-size --checkpoint-every --download --epochs --folds --from --image-size"
    " --keep --learning-rate --max-pixels --out --overwrite --preprocessing --preview --recipe --repeats --resume"
    " --seed --set --train --watch --workers",
    "clip": "--channel --download --lang --layer --max-pixels --model --out",
    "evaluate": "--download --engine --ensemble --explain --folds --html --json --max-pixels --model --picture"
    " --precision --repeats --robustness --split --views",
    "curve": "--download --from --json --max-pixels --out --preprocessing --seed --workers",
    "compare": "--download --engine --json --max-pixels --precision --split --views",
    "calibrate": "--download --engine --false-alarm-rate --json --max-pixels --model --out --precision-target --split",
    "paper": "--columns --data --epochs --from-a --json --lang --out --seed --sides --size --width",
    "drift": "--json --model --picture --rate",
    "predict": "--actors --download --engine --json --max-pixels --model --out --precision --ray --resume --shard"
    " --sort-into --top --views",
    "summary": "--channels --classes --head --hidden --image-size --json --lang --width",
    "convert": "--classes --image-size --preprocessing --to",
    "export": "--calibrate --dense --download --force --int8 --int8-images --model",
    "verify": "--download --json",
    "bench": "--batch --download --engine --json --no-peers --out --precision --seconds",
    "shrink": "--baseline --checkpoint-every --download --head --json --largest-loss --max-pixels --multiply-adds --out"
    " --overwrite --set --speed --workers",
    "serve": "--allow-host --allow-origin --data --download --engine --host --insecure --max-pixels --model --parent"
    " --port --precision --queue --root-path --timeout --token-file --views",
    "look": "--arrays --at --attribution --class-model --dense --download --json --lang --layers --max-pixels"
    " --model --order --out --parent --rank --sanity --scale --target --without",
    "step": "--all --at --channel --download --json --lang --layer --max-pixels --model --parent",
    "fc": "--download --lang --max-pixels --model",
    "pool": "--at --kernel --kind --lang --max-pixels --out --padding --stride",
    "conv": "--as --at --dilation --flip --kernel --lang --max-pixels --out --padding --per-channel --stride",
    "relu": "--channel --depth --lang --max-pixels --out",
    "softmax": "--lang --temperature",
    "teach": "--download --from --port --preprocessing --token-file",
}


@pytest.fixture(scope="module")
def model(digits_run: Path) -> Path:
    return digits_run / "best.safetensors"


def test_python_names_are_frozen() -> None:
    import vgglass as package

    assert package.__all__ == [
        "VGG", "calibrate", "check", "check_labels", "clip", "compare", "curve", "engine", "evaluate", "export", "load",
        "paper", "predict", "pretrained", "report", "shrink", "train", "verify",
    ]  # fmt: skip
    assert all(callable(getattr(package, name)) for name in package.__all__)


def test_help_names_every_engine_and_attribution_method() -> None:
    """It is written by hand, for to import them would take a second."""
    import typer

    from vgglass.cli import app
    from vgglass.engines import NAMES
    from vgglass.glass.attribution import METHODS

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    helps = {
        (name, option): part.help
        for name, command in commands.items() for part in command.params for option in part.opts
    }  # fmt: skip
    assert all(method in helps["look", "--attribution"] for method in METHODS)
    asked = [text for (_, option), text in helps.items() if option == "--engine"]
    assert len(asked) == 6
    assert all(engine in text for text in asked for engine in NAMES)


def test_options_are_frozen() -> None:
    import typer

    from vgglass.cli import app

    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    found = {
        name: " ".join(sorted(option for part in command.params for option in part.opts if option.startswith("--")))
        for name, command in commands.items()
    }
    assert found == OPTIONS


def test_a_resumed_run_names_its_folder(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for shade, name in enumerate(("cat", "dog")):
        (photos / name).mkdir(parents=True)
        for index in range(6):
            Image.new("RGB", (40, 40), (40 * index, 90 * shade, 7)).save(photos / name / f"{index}.png")
    options = ("--image-size", 32, "--set", "width=0.0625", "--set", "hidden=8", "--batch-size", 4)
    vgglass("train", photos, "--out", tmp_path / "run", "--epochs", 2, *options)
    out = tmp_path / "run"
    for path in (out / "checkpoints").iterdir():
        path.unlink()  # as if killed before the first one
    printed = vgglass("train", "--out", out, "--resume").stdout
    assert f"Next:    vgglass evaluate --model {out / 'best.safetensors'} {photos}" in printed


def test_a_command_in_an_interpreter_of_its_own() -> None:
    assert "138,357,544" in interpreted("summary", "vgg16").stdout
    error = interpreted("summary", "vgg17", status=2).stderr
    assert error.startswith("error: architecture 'vgg17': not one of A, A-LRN")
    assert len(error.splitlines()) == 1


@pytest.mark.slow
def test_every_signal_leaves_with_its_own_status_and_its_advice_helps(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", signal.SIGTERM, 143, "--set", "width=0.0625")
    for number, status in ((signal.SIGHUP, 129), (signal.SIGINT, 130)):
        interrupted(tmp_path / "run", number, status, "--resume")


def interrupted(out: Path, number: signal.Signals, status: int, *options: str) -> None:
    """Train until the first epoch is told, send the signal, and read what is said."""
    command = [sys.executable, "-m", "vgglass", "train", "--out", str(out), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch "):
            process.send_signal(number)
            break
    said = process.stdout.read()
    process.stdout.close()
    assert process.wait() == status
    assert f"interrupted by {number.name}: saved in epoch" in said
    assert f"go on with: vgglass train --out {out} --resume." in said


def test_a_preview_is_drawn_and_nothing_is_trained(tmp_path: Path) -> None:
    printed = vgglass("train", "--preview", tmp_path / "seen.png", "--set", "augmentation=strong").stdout
    assert f"Written: {tmp_path / 'seen.png'}" in printed
    assert (tmp_path / "seen.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1
    error = vgglass("train", "--preview", tmp_path / "seen.jpg", status=2).stderr
    assert "pictures are written as PNG files; end it in .png" in error


def test_evaluate_prints_figures_and_writes_the_picture(model: Path) -> None:
    printed = vgglass("evaluate", "--model", model).stdout
    assert "on 360 test images" in printed
    assert str(model.with_name("confusion-test.png")) in printed
    assert model.with_name("confusion-test.png").exists()
    figures = json.loads(vgglass("evaluate", "--model", model, "--json").stdout)
    assert figures["images"] == 360
    assert sum(map(sum, figures["confusion"])) == 360
    assert len(figures["per_class"]) == 10
    assert figures["intervals"].keys() == {"top1", "top5", "balanced_accuracy", "macro_f1", "auc"}
    low, high = figures["intervals"]["top1"]
    assert f"top-1 {figures['top1']:.4f} ({low:.4f} to {high:.4f})" in printed
    assert f"ECE {figures['calibration']['ece']:.4f}" in printed
    header, row = next(pair for pair in pairwise(printed.splitlines()) if pair[0].startswith("ConvNet config."))
    assert re.split(" {2,}", header) == [
        "ConvNet config.", "train (S)", "test (Q)", "evaluation", "top-1 test error (%)", "top-5 test error (%)",
    ]  # fmt: skip
    error = f"{100 * (1 - figures['top1']):.1f}"
    assert row.split()[:5] == ["A_bn", "32", "32", "centre", error]


def test_an_ensemble_is_printed_as_the_papers_table_6(model: Path) -> None:
    last = model.with_name("last.safetensors")
    printed = vgglass("evaluate", "--model", model, "--ensemble", last, "--split", "validation").stdout
    assert "combined ConvNet models" in printed
    assert "top-1 val. error (%)" in printed
    assert "A_bn+A_bn" in printed


def test_compare_says_whether_a_difference_is_larger_than_chance(model: Path, tmp_path: Path) -> None:
    printed = vgglass("compare", model, model).stdout
    assert "The second model's top-1 is +0.00 points (95 % interval" in printed
    assert "That may be chance (McNemar's exact test: p = 1): these images don't tell which one is better." in printed
    file = modelfile.load(model)
    fc8 = {name: -file.weights[name] for name in ("fc8.weight", "fc8.bias")}
    worse = tmp_path / "worse.safetensors"
    modelfile.save(replace(file, weights=file.weights | fc8), worse)
    printed = vgglass("compare", model, worse, "--split", "validation").stdout
    assert f"larger than chance (McNemar's exact test: p < 0.0001): {model} is the better one." in printed
    assert printed.count("used for selection") == 2
    figures = json.loads(vgglass("compare", worse, model, "--json").stdout)
    assert figures["larger_than_chance"]
    assert figures["difference"][0] == pytest.approx(figures["top1"][1] - figures["top1"][0])


def test_predict_files_as_table_json_and_csv(model: Path, tmp_path: Path) -> None:
    folder = sources.write_images("test", tmp_path / "digits") / "7"
    count = len(list(folder.iterdir()))
    assert "digit-" in vgglass("predict", "--model", model, folder).stdout
    rows = json.loads(vgglass("predict", "--model", model, folder, "--json", "--top", 2).stdout)
    assert len(rows) == count
    assert all(len(row["top"]) == 2 for row in rows)
    (folder / "bad.png").write_text("no image")
    result = vgglass("predict", "--model", model, folder, "--out", tmp_path / "rows.csv", status=1)
    assert f"1 of {count + 1} images could not be read" in result.stderr
    table = list(csv.DictReader((tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()))
    assert len(table) == count + 1
    bad = next(row for row in table if row["path"].endswith("bad.png"))
    assert bad["error"].startswith("not an image")
    assert bad["class"] == ""
    vgglass("predict", "--model", model, folder / "bad.png", "--out", tmp_path / "rows.jsonl", status=1)
    assert "error" in json.loads((tmp_path / "rows.jsonl").read_text())


def test_summary_prints_the_papers_numbers() -> None:
    figures = json.loads(vgglass("summary", "vgg16", "--json").stdout)
    assert figures["parameters"] == 138357544
    assert figures["weight_layers"] == 16
    assert round(figures["multiply_adds"] / 1e9, 3) == 15.470
    fields = {layer["name"]: layer["receptive_field"] for layer in figures["layers"]}
    assert (fields["conv5_3"], fields["pool5"], fields["fc6"]) == (196, 212, 404)
    printed = vgglass("summary", "E", "--lang", "zh").stdout
    assert "感受野" in printed
    assert "143,667,240" in printed


def test_errors_are_one_line_and_have_their_status(model: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "vgg.pth"
    torch.save(torchvision_network("vgg11").state_dict(), foreign)
    cases = [
        (("summary", "vgg17"), 2, "architecture 'vgg17': not one of A, A-LRN"),
        (("summary", "A", "--image-size", 31), 2, "image size 31: five 2x2 poolings leave nothing"),
        (("summary", "A", "--lang", "fr"), 2, "--lang fr: not one of en, zh"),
        (("train", tmp_path), 2, "--out: names the folder for the run and is missing"),
        (("train", tmp_path, "--out", tmp_path / "x"), 1, "no images in subfolders of it"),
        (("train", "--out", tmp_path / "x", "--set", "epochs"), 2, "--set epochs: is not FIELD=VALUE"),
        (("predict", "--model", model, tmp_path / "no.jpg"), 1, "no.jpg: does not exist; check the path"),
        (("predict", "--model", model, tmp_path), 1, "holds no images"),
        (
            ("predict", "--model", model, model, "--out", "rows.txt"),
            2,
            "the rows go to a .csv, .jsonl or .parquet file",
        ),
        (("evaluate", "--model", tmp_path / "none.safetensors"), 1, "No such file or directory"),
        (("convert", model, tmp_path / "x.pth"), 2, "is a vgglass model file already; add --to and one of torchvision"),
        (("convert", model, tmp_path / "x.pth", "--to", "caffe"), 2, "--to caffe: not one of torchvision, timm, keras"),
        (("convert", foreign, tmp_path / "x.pth"), 2, "a model file ends in .safetensors"),
        (("convert", foreign, tmp_path / "x.safetensors"), 2, "--classes: names the 7 classes in the order of the out"),
        (
            ("convert", model, tmp_path / "x.pth", "--to", "timm", "--classes", "a"),
            2,
            "--classes: has no place in anot",
        ),
        (("predict", "--model", foreign, foreign), 1, "not a vgglass model file; for another framework's weights run:"),
    ]
    for arguments, status, message in cases:
        error = vgglass(*arguments, status=status).stderr
        assert message in error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_a_model_for_other_classes_is_named(model: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40)).save(tmp_path / name / "a.png")
    error = vgglass("evaluate", tmp_path, "--model", model, status=1).stderr
    assert "classes 'cat', 'dog'" in error
    assert "are unknown to the model, which tells 0, 1, 2, 3, 4, ... apart" in error


def test_convert_there_and_back(model: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(10))))
    error = vgglass("convert", model, tmp_path / "x.pth", "--to", "torchvision", status=1).stderr
    assert "7" in error  # torchvision's head wants a 7x7 map, this one has 1x1


def test_weights_without_a_head_are_converted_and_started_from(tmp_path: Path) -> None:
    weights, out = tmp_path / "features.pth", tmp_path / "model.safetensors"
    torch.save({"model": {f"module.{key}": tensor for key, tensor in features().items()}}, weights)
    said = "taken: 8 convolutions; nothing left out; fc8 is zero, so that every class is equally likely until a head"
    printed = vgglass("convert", weights, out).stdout
    assert said in printed
    assert "classes unnamed 1, unnamed 2" in printed
    assert "ok" in vgglass("verify", out).stdout
    options = ("--epochs", 1, "--image-size", 32, "--set", "channels=3", "--set", "hidden=8", "--batch-size", 32)
    photos = tmp_path / "photos"
    for shade, name in enumerate(("cat", "dog")):
        (photos / name).mkdir(parents=True)
        for index in range(6):
            Image.new("RGB", (40, 40), (40 * index, 90 * shade, 7)).save(photos / name / f"{index}.png")
    printed = vgglass("train", photos, "--out", tmp_path / "run", "--from", weights, *options).stdout
    assert said in printed
    assert "kept: 8 convolutions of vgg11" in printed
    run = tmp_path / "run"
    (run / "best.safetensors").unlink()  # as if killed before the head was fitted
    torch.save({key: tensor + 1 for key, tensor in features().items()}, weights)
    error = vgglass("train", "--out", run, "--resume", status=1).stderr
    assert "is no longer the model that the run began with" in error
    torch.save(features(), weights)
    assert said in vgglass("train", "--out", run, "--resume").stdout


def features() -> dict[str, torch.Tensor]:
    state = torchvision_network("vgg11").state_dict()
    return {key: tensor for key, tensor in state.items() if key.startswith("features")}


def pretrained(folder: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    """The name vgg11 stands for a model that is in the cache."""
    monkeypatch.setenv("VGGLASS_CACHE", str(folder))
    shutil.copy(model, folder / "vgg11.safetensors")


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "--model", "vgg11"),
        ("evaluate", "--model", "vgg11", "--ensemble", "vgg11", "--picture", "x.png"),
        ("compare", "vgg11", "vgg11"),
        ("calibrate", "--model", "vgg11", "--out", "calibrated.safetensors"),
        ("export", "graph.xml", "--model", "vgg11"),
        ("verify", "vgg11"),
    ],
)
def test_names_and_download_go_to_every_command(
    arguments: tuple[str, ...], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VGGLASS_WEIGHTS_URL", "http://127.0.0.1:9/")  # the discard port: nobody answers
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path))
    error = vgglass(*arguments, "--download", status=1).stderr
    assert "http://127.0.0.1:9/vgg11-8a719046.pth: cannot be reached" in error
    pretrained(tmp_path, monkeypatch, model)
    vgglass(*arguments)


def test_what_was_fetched_is_not_calibrated_in_the_cache(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained(tmp_path, monkeypatch, model)
    error = vgglass("calibrate", "--model", "vgg11", status=2).stderr
    assert "--out: names the calibrated model file and is missing" in error
    assert (tmp_path / "vgg11.safetensors").read_bytes() == model.read_bytes()


def test_a_folder_that_changed_since_the_training_is_cautioned(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for shade, name in enumerate(("cat", "dog")):
        (photos / name).mkdir(parents=True)
        for index in range(6):
            Image.new("RGB", (40, 40), (40 * index, 90 * shade, 7)).save(photos / name / f"{index}.png")
    options = ("--epochs", 1, "--image-size", 32, "--set", "width=0.0625", "--set", "hidden=8", "--batch-size", 4)
    vgglass("train", photos, "--out", tmp_path / "run", *options)
    best = tmp_path / "run" / "best.safetensors"
    printed = vgglass("evaluate", photos, "--model", best).stdout
    assert "on 2 test images" in printed
    assert "flatters" not in printed
    (photos / "cat" / "0.png").unlink()
    printed = vgglass("evaluate", photos, "--model", best).stdout
    assert "on 11 all images" in printed
    assert "this folder has changed since the training" in printed


@pytest.mark.slow
def test_demo_reaches_98_percent(tmp_path: Path) -> None:
    printed = vgglass("demo", "--out", tmp_path / "demo").stdout
    top1 = float(printed.split("top-1 ")[1].split()[0])
    assert top1 >= 0.98
    for name in ("best.safetensors", "curves.png", "confusion-test.png", "report.html", "predictions.csv"):
        assert (tmp_path / "demo" / name).exists()
        assert name in printed
    rows = list(csv.DictReader((tmp_path / "demo" / "predictions.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 360
    right = sum(Path(row["path"]).parent.name == row["class"] for row in rows)
    assert right / 360 == pytest.approx(top1, abs=1e-4)  # from files as from memory
    assert "Next, try:" in printed
    look = next(line.split() for line in printed.splitlines() if " look --model" in line)
    assert "index.html" in vgglass(*look[1:]).stdout


@pytest.mark.slow
def test_light_install_predicts_without_torch(model: Path, tmp_path: Path) -> None:
    """An environment with the base alone answers as this one does."""
    root = Path(__file__).parent.parent
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([*pip, "--require-hashes", "-r", str(root / "constraints-base.txt")], check=True)
    subprocess.run([*pip, "--no-deps", str(root)], check=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 1
    folder = sources.write_images("test", tmp_path / "digits") / "3"
    light = subprocess.run(
        [python, "-m", "vgglass", "predict", "--model", model, folder, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(light.stdout) == json.loads(vgglass("predict", "--model", model, folder, "--json").stdout)
    refused = subprocess.run(
        [python, "-m", "vgglass", "train", "--out", tmp_path / "run"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "run: pip install 'vgglass[torch]'" in refused.stderr


@pytest.mark.slow
def test_photographs_train_and_predict(tmp_path: Path) -> None:
    photographs = Path(__file__).parent.parent.parent / "shared" / "data" / "hymenoptera"
    if not photographs.is_dir():
        pytest.skip("../shared/data/hymenoptera is not here")
    out = tmp_path / "run"
    vgglass("train", photographs, "--architecture", "vgg11_bn", "--image-size", 96, "--epochs", 2, "--out", out)
    printed = vgglass("evaluate", photographs, "--model", out / "best.safetensors").stdout
    assert "used for selection" in printed
    rows = json.loads(
        vgglass("predict", "--model", out / "best.safetensors", photographs / "val" / "ants", "--json").stdout
    )
    assert len(rows) == 70
