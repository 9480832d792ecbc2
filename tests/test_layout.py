"""Layouts that people have: what is understood of each, in one sentence, and what is refused with its two readings."""

import re
import unicodedata
from pathlib import Path

import pytest

from pictures import photographs, save, scene
from vgglass import modelfile, workflows
from vgglass.data.folder import Survey, open_data, survey, trainable
from vgglass.data.layout import part_of
from vgglass.data.listing import summary
from vgglass.errors import DataError

NFD = unicodedata.normalize("NFD", "café")


def planted(top: Path, *names: str) -> Path:
    """Small pictures, all different, under these names; a name that ends in / is an empty folder; in .txt, a text."""
    for number, name in enumerate(names):
        path = top / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        elif name.endswith(".txt"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text")
        else:
            save(path, scene(number, 24, 24))
    return top


def both(folder: str) -> tuple[str, str]:
    return f"{folder}/cat/1.png", f"{folder}/dog/1.png"


def ids(found: Survey) -> dict[str, list[str]]:
    """By part and class, the images."""
    gathered: dict[str, list[str]] = {}
    for entry in found.entries:
        gathered.setdefault(f"{entry.split} {found.classes[entry.label]}", []).append(entry.id)
    return gathered


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("TRAINING", "VALIDATION", "TESTING"),
        ("training_set", "validation_set", "test_set"),
        ("train-images", "dev-images", "test-images"),
        ("trainset", "valset", "testset"),
        ("data_train", "data_dev", "data_test"),
        ("train2017", "val2017", "test2017"),
        ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"),
        ("flowers_train", "flowers_valid", "flowers_test"),
        ("data/train", "data/val", "data/test"),
        ("a/b/train", "a/b/val", "a/b/test"),
        ("train/animals", "val/animals", "test/animals"),
        ("训练集", "验证集", "测试集"),
    ],
)
def test_parts_by_the_names_that_people_give_them(tmp_path: Path, train: str, validation: str, test: str) -> None:
    found = survey(planted(tmp_path, *both(train), *both(validation), *both(test), "README.txt"))
    assert ids(found) == {
        f"{part} {name}": [f"{folder}/{name}/1.png"]
        for part, folder in (("train", train), ("validation", validation), ("test", test))
        for name in ("cat", "dog")
    }
    said = f"is understood as divided by its folders: train from {train}, 2 classes, 2 images; validation from"
    assert said in found.understood
    assert summary(found.passed_over) == "passed over: 1 no image (README.txt)"


@pytest.mark.parametrize(
    "names",
    [
        ("bus", "car", "train"),
        ("bus", "training"),
        ("test1", "test2", "test3"),
        ("contest", "interval", "latest"),
        ("test_strip", "test_tube"),
        ("car-train", "steam train"),
        ("devil", "oval", "trainer"),
    ],
)
def test_classes_that_are_named_like_parts(tmp_path: Path, names: tuple[str, ...]) -> None:
    found = survey(planted(tmp_path, *(f"{name}/1.png" for name in names)))
    assert found.classes == names
    listed = ", ".join(names)
    count = len(names)
    assert found.understood == f"{tmp_path} is understood as not divided: {count} classes, {count} images ({listed})."


@pytest.mark.parametrize(
    ("folder", "around"),
    [("PetImages", "PetImages"), ("data", "data"), ("archive/animals/animals", "archive/animals/animals")],
)
def test_folders_around_the_class_folders(tmp_path: Path, folder: str, around: str) -> None:
    found = survey(planted(tmp_path, *both(folder), f"{folder.split('/')[0]}/LICENSE.txt"))
    assert ids(found) == {"all cat": [f"{folder}/cat/1.png"], "all dog": [f"{folder}/dog/1.png"]}
    assert f"not divided: {around}, 2 classes, 2 images (cat, dog)" in found.understood


def test_folders_within_a_class_folder_are_its_own(tmp_path: Path) -> None:
    planted(tmp_path / "a", "cat/cat/1.png", "dog/dog/1.png")
    assert survey(tmp_path / "a").classes == ("cat", "dog")
    planted(tmp_path / "b", "cat/indoor/1.png", "cat/outdoor/1.png", "dog/indoor/1.png")
    assert [len(images) for images in ids(survey(tmp_path / "b")).values()] == [2, 1]
    assert survey(planted(tmp_path / "c", "cat/2019/1.png")).classes == ("cat",)
    planted(tmp_path / "d", *both("train"), "train/cat/a/1.png", "test/cat/a/1.png", "test/cat/b/1.png")
    assert ids(survey(tmp_path / "d"))["test cat"] == ["test/cat/a/1.png", "test/cat/b/1.png"]


@pytest.mark.parametrize(
    ("names", "remark", "passed"),
    [
        (("test/1.png", "test/2.png"), "test is not used, for its 2 images lie in no class's folder", "2 in no class"),
        (("test/images/1.png",), "test is not used, for none of its folders (images) is a class of train", "1 in no"),
        (("test/test/1.png",), "test is not used, for none of its folders (test) is a class of train", "1 in no"),
        (("test/",), "test holds no images", ""),
        (("test/cat/", "test/dog/"), "test holds no images", ""),
        (("test/cat/notes.txt",), "test holds no images", "1 in no class's folder (test)"),
        (("val/", "test/cat/2.png"), "test lacks dog; val holds no images", ""),
        (
            ("test/cat/2.png", "test/cow/1.png"),
            "test has folders of no class of train, which are left out (cow)",
            "1 in",
        ),
    ],
)
def test_a_part_that_can_not_be_used_is_in_nobodys_way(
    tmp_path: Path, names: tuple[str, ...], remark: str, passed: str
) -> None:
    planted(tmp_path, *names)
    photographs(tmp_path / "train", cat=4, dog=4)
    found = open_data(tmp_path)
    assert found.classes == ("cat", "dog")
    for one in remark.split("; "):
        assert one in found.understood
    assert passed in summary(found.passed_over)
    divided = trainable(found)
    assert all(divided.splits.values())  # each part that is there can be judged
    assert len(divided.split("train")) == 6


def test_training_goes_on_without_a_test_part_that_it_can_not_use(tmp_path: Path) -> None:
    planted(tmp_path / "photos", "test/1.png", "val/")
    photographs(tmp_path / "photos" / "train", cat=4, dog=4)
    best = workflows.train(
        tmp_path / "photos", out=tmp_path / "run", image_size=32, epochs=1, batch_size=4, width=0.0625, hidden=8
    )
    assert modelfile.load_record(best).data["images"] == {"train": 6, "validation": 2}


TWO_WAYS = "can be read in two ways: its classes are"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cat/1.png", "dog/1.png", "test/1.png"),
         f"{TWO_WAYS} cat, dog, test, or test is a part without class folders; move test out of it, or, if these are "
         "classes, put all class folders into one folder named train."),
        (("bus/1.png", "train/1.png", "val/1.png"), f"{TWO_WAYS} bus, train, val, or train, val are parts without"),
        (("train/1.png", "test/1.png"), f"{TWO_WAYS} test, train, or test, train are parts without class"),
        ((*both("train"), "extra/1.png"), f"{TWO_WAYS} train, extra, or train holds the class folders and extra"),
        (("cat/1.png", "dog/1.png", *both("test")), f"{TWO_WAYS} test, cat, dog, or test holds the class folders and"),
        ((*both("data/train"), *both("data/test"), "backup/1.png"),
         "two ways: data is a class, or holds the parts test, train; name .*/data itself, or put the parts outermost"),
        (("cat/train/1.png", "cat/test/1.png", "dog/train/1.png"), "two ways: cat is a class, or holds the parts "),
        ((*both("train"), *both("val"), *both("valid")),
         "has two folders for the part validation: val and valid; put their images into one of them, or move one"),
        ((*both("Train"), *both("training")), "has two folders for the part train: Train and training; put"),
        (("train/1.png",), "train: holds 1 images and no class folders; put each class's images in a subfolder"),
        (("1.png", "2.png"), r"no images in subfolders of it \(2 lie loose in it\); put each class's images in a subf"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_is_refused_with_its_readings(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        survey(planted(tmp_path, *names))


def test_the_ways_out_that_are_named_lead_out(tmp_path: Path) -> None:
    planted(tmp_path, "train/cat/1.png", "train/dog/1.png", "train/test/1.png", "train/train/1.png")
    assert survey(tmp_path).classes == ("cat", "dog", "test", "train")


def test_two_names_of_one_part_by_a_link(tmp_path: Path) -> None:
    planted(tmp_path, *both("train"), *both("val"))
    (tmp_path / "valid").symlink_to("val")
    found = survey(tmp_path)
    assert [entry.id for entry in found.entries if entry.split == "validation"] == ["val/cat/1.png", "val/dog/1.png"]
    assert summary(found.passed_over) == "passed over: 1 counted already, reached by a link (valid)"


def test_names_are_matched_as_a_person_sees_them(tmp_path: Path) -> None:
    planted(tmp_path, "train/café/1.png", "train/Dog/1.png", f"test/{NFD}/1.png", "test/dog/1.png", "test/DOG/2.png")
    found = survey(tmp_path)
    assert found.classes == ("café", "Dog")
    assert [found.classes[entry.label] for entry in found.entries if entry.split == "test"] == ["café", "Dog", "Dog"]
    assert "dog of test is taken for the class Dog" in found.understood
    planted(tmp_path / "flat", "café/1.png", f"{NFD}/2.png", "Über/3.png", "über/4.png", "ﬁsh/5.png")
    found = survey(tmp_path / "flat")
    assert found.classes == ("café", "ﬁsh", "Über", "über")
    assert "2 folders whose names look the same are the class café; the classes Über and über differ by case alone" in (
        found.understood
    )
    assert open_data(tmp_path / "flat" / ".." / "flat").classes == found.classes


def test_a_folder_may_be_named_in_another_normal_form(tmp_path: Path) -> None:
    planted(tmp_path, *both(f"Müller/{NFD}"))
    name = unicodedata.normalize("NFD", "Müller")
    assert open_data(tmp_path / name / "café").classes == ("cat", "dog")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / name / 'cafe'}: is not a folder; name one")):
        open_data(tmp_path / name / "cafe")
    with pytest.raises(
        DataError, match=r"CAFÉ: is not a folder \(there is 'cafe\u0301', which differs by case alone\)"
    ):
        open_data(tmp_path / "Müller" / "CAFÉ")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"), ("Valid", "validation"), ("test_set", "test"), ("test1", "test"), ("images-train", "train"),
        ("训练数据", "train"), ("latest", None), ("testify", None), ("pre-train", None), ("my_test", None), ("", None),
        ("data", None), ("interval", None), ("_" * 255, None), ("set" * 85, None),
    ],
)  # fmt: skip
def test_what_a_name_alone_says(name: str, part: str | None) -> None:
    assert part_of(name) == part
