"""Manifests: what is written is read back, and what has changed since is named."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as arrow
import pytest
from pyarrow import parquet

from pictures import photographs, save, scene
from vgglass import images
from vgglass.data import manifest, sources
from vgglass.data.dataset import Dataset
from vgglass.data.folder import open_data, trainable
from vgglass.errors import DataError
from vgglass.inference import expand


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return trainable(open_data(photographs(tmp_path / "photos", cat=6, dog=5)))


def ids(dataset: Dataset) -> dict[str, list[str]]:
    return {name: [sample.id for sample in samples] for name, samples in dataset.splits.items()}


def test_what_is_written_is_read_back(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    manifest.write(replace(dataset, left_out=(("cat/x.jpg", "damaged"),)), path)
    found = open_data(path)
    assert ids(found) == ids(dataset)
    assert (found.classes, found.left_out) == (("cat", "dog"), (("cat/x.jpg", "damaged"),))
    assert [sample.facts for sample in found.split("all")] == [sample.facts for sample in dataset.split("all")]
    assert manifest.digest(found) == manifest.digest(dataset)
    assert trainable(found) == found
    rows = parquet.read_table(path, partitioning=None).to_pylist()
    first = dataset.split("train")[0]
    assert rows[0] == {
        "id": first.id, "path": first.id, "bytes": first.described().size, "height": 180, "width": 240, "mode": "RGB",
        "label": dataset.classes[first.label], "split": "train", "sha256": first.digest.hex(),
    }  # fmt: skip
    assert manifest.sides(path) == dataset.sides()
    assert expand([path]) == [sample.source for sample in dataset.split("all")]


def test_the_digest_knows_contents_classes_and_splits_alone(dataset: Dataset, tmp_path: Path) -> None:
    digest = manifest.digest(dataset)
    turned = replace(dataset, splits={name: found[::-1] for name, found in reversed(dataset.splits.items())})
    assert manifest.digest(turned) == digest
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert manifest.digest(trainable(open_data(tmp_path / "moved"))) == digest
    assert manifest.digest(replace(dataset, classes=("cat", "wolf"))) != digest
    names = {"train": "test", "test": "train", "validation": "validation"}
    swapped = {names[name]: found for name, found in dataset.splits.items()}
    assert manifest.digest(replace(dataset, splits=swapped)) != digest
    assert manifest.digest(replace(dataset, splits=dataset.splits | {"test": ()})) != digest


def test_files_that_went_or_changed_are_named_before_anything_starts(dataset: Dataset, tmp_path: Path) -> None:
    path, first = tmp_path / "data.parquet", dataset.split("train")[0].source
    assert isinstance(first, Path)
    manifest.write(dataset, path)
    content = first.read_bytes()
    save(first, scene(777))
    with pytest.raises(DataError, match=rf"1 of its 11 files changed since, the first '.*{first.name}' in .*write the"):
        open_data(path)
    first.unlink()
    with pytest.raises(
        DataError, match=r"1 of its 11 files can not be read, the first .*bring the files back, or write"
    ):
        open_data(path)
    first.write_bytes(content)
    assert ids(open_data(path)) == ids(dataset)


def test_digits_have_no_paths(tmp_path: Path) -> None:
    manifest.write(sources.digits(), tmp_path / "digits.parquet")
    found = open_data(tmp_path / "digits.parquet")
    assert ids(found) == ids(sources.digits())
    assert manifest.digest(found) == manifest.digest(sources.digits())
    with pytest.raises(DataError, match="holds rows without a path: its images lie in an archive"):
        expand([tmp_path / "digits.parquet"])
    table = parquet.read_table(tmp_path / "digits.parquet", partitioning=None)
    column = table.schema.get_field_index("sha256")
    spoilt = table.set_column(column, "sha256", arrow.array(["00" * 32] * len(table)))
    parquet.write_table(spoilt, tmp_path / "digits.parquet")
    with pytest.raises(DataError, match="1797 of its 1797 files are not those of the embedded digits"):
        open_data(tmp_path / "digits.parquet")


def test_what_is_no_manifest_is_named(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.parquet: does not exist"):
        open_data(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("text")
    parquet.write_table(arrow.table({"path": ["a"]}), tmp_path / "other.parquet")
    manifest.write(dataset, tmp_path / "label.parquet")
    table = parquet.read_table(tmp_path / "label.parquet", partitioning=None)
    labels = table.set_column(table.schema.get_field_index("label"), "label", arrow.array(["cow"] * len(table)))
    parquet.write_table(labels, tmp_path / "label.parquet")
    for name in ("text", "other", "label"):
        with pytest.raises(DataError, match=rf"{name}.parquet: not a manifest of vgglass .*remove it and write"):
            open_data(tmp_path / f"{name}.parquet")
    parquet.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(DataError, match=r"empty.parquet: holds no images"):
        open_data(tmp_path / "empty.parquet")


def test_a_csv_names_paths_from_its_own_folder(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    save(tmp_path / "photos" / 'a, "b"\n.png', scene(50))
    (tmp_path / "photos" / "bad.png").write_text("text")
    lines = ["\ufeffPath,label,split", "photos/cat/0.jpg,class10,train", "photos/cat/1.jpg,class2,VAL"]
    lines += ['"photos/a, ""b""\n.png",class10,test', "photos/bad.png,class2,train", ""]
    path.write_text("\r\n".join(lines), encoding="utf-8")
    found = open_data(path)
    assert found.classes == ("class2", "class10")
    assert ids(found) == {
        "train": ["photos/cat/0.jpg"], "validation": ["photos/cat/1.jpg"], "test": ['photos/a, "b"\n.png'],
    }  # fmt: skip
    assert found.split("train")[0].label == 1
    assert found.left_out[0][0] == "photos/bad.png"
    path.write_text("path,label\nphotos/cat/0.jpg,a\n" + str(tmp_path / "photos" / "cat" / "1.jpg") + ",b\n")
    assert {name: len(samples) for name, samples in open_data(path).splits.items()} == {"all": 2}
    manifest.write(open_data(path), tmp_path / "data.parquet")
    assert manifest.digest(open_data(tmp_path / "data.parquet")) == manifest.digest(open_data(path))


def test_faults_of_a_csv_are_named_with_their_line(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    good = b"path,label,split\nphotos/cat/0.jpg,cat,train\n"
    cases = {
        b"a.jpg,cat\nb.jpg,dog\n": r"line 1: holds 'a.jpg', 'cat', separated by commas: no column is called 'path'; "
        r"name the columns path,label\[,split\] in the first line",
        b"path;split\nx;train\n": "line 1: holds 'path', 'split', separated by semicolons: no column is called 'label'",
        b"": "line 1: holds nothing: no column is called 'path'",
        good[:17]: "holds no rows; write a line for each image",
        good + b"photos/cat/1.jpg,cat,later\n": "line 3: split 'later' is not one of train, validation, test",
        good + b"photos/cat/1.jpg,cat,\n": "line 3: split '' is not one of",
        good + b"photos/cat/1.jpg, ,train\n": "line 3: its label is empty",
        good + b",cat,train\n": "line 3: its path is empty",
        good + b"photos/cat/1.jpg,cat\n": "line 3: has 2 cells, and the first line 3",
        good + b"photos/dog/../cat/0.jpg,dog,test\n": "line 3: names .* again, after line 2",
        good + b"caf\xe9.jpg,cat,train\n": "line 3: is not UTF-8; save the file as UTF-8",
        good + b'"photos,cat,train\n': "line 3: is not CSV",
        good + b"no.jpg,cat,train\n": r"1 of its 2 files can not be read, the first 'no.jpg \(line 3\)'",
    }
    for content, message in cases.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            open_data(path)
    path.write_text("path,label\nphotos/bad.png,cat\n")
    (tmp_path / "photos" / "bad.png").write_text("text")
    with pytest.raises(DataError, match="none of its 1 images could be read; the first: not an image"):
        open_data(path)
    with pytest.raises(DataError, match=r"away.csv: No such file or directory; check the path"):
        open_data(tmp_path / "away.csv")


def test_a_csv_to_predict_needs_paths_alone_and_no_package(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("path\nphotos/cat/0.jpg\nno.jpg\n")
    code = (
        "import sys; sys.modules['pyarrow'] = sys.modules['imagehash'] = sys.modules['scipy'] = None\n"
        "from pathlib import Path; from vgglass.inference import expand\n"
        "print(*expand([Path('data.csv')]), sep='\\n')\n"
        "from vgglass.errors import MissingExtraError\n"
        "for late in (lambda: expand([Path('data.parquet')]),):\n"
        "    try: late()\n"
        "    except MissingExtraError as error: print(error)\n"
    )
    (tmp_path / "data.parquet").touch()
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ
    ).stdout.splitlines()
    assert printed[:2] == ["photos/cat/0.jpg", "no.jpg"]
    assert printed[2].startswith(
        "pyarrow: needed for Parquet manifests, is not installed; run: pip install 'vgglass[data]'"
    )


def test_training_after_a_check_decodes_nothing_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest.write(dataset, tmp_path / "data.parquet")
    monkeypatch.setattr(images, "examine", None)  # whoever decodes now fails
    assert ids(trainable(open_data(tmp_path / "photos"))) == ids(dataset)
    assert ids(open_data(tmp_path / "data.parquet")) == ids(dataset)
