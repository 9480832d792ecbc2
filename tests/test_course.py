"""The exercises of the course: each knows its right answer, an empty one, and what the usual slips come to."""

from pathlib import Path

import numpy as np
import pytest

from vgglass import course
from vgglass.course import EXERCISES
from vgglass.errors import UsageError
from vgglass.locale import LANGUAGES, words

SLIPS = [(name, slip) for name, exercise in EXERCISES.items() for slip in exercise.slips]


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_answer_passes_and_an_empty_one_gets_a_hint(name: str, lang: str) -> None:
    said = words(lang, "exercises")[name.replace(".", "_")]
    found = course.check(name, EXERCISES[name].answer, lang)
    assert found
    assert repr(found) == f"✓ {said['right']}"
    empty: tuple[object, ...] = (None, ..., "", [])
    for nothing in empty:
        assert not course.check(name, nothing, lang)
        assert said["hint"] in course.check(name, nothing, lang).sentence


@pytest.mark.parametrize(("name", "slip"), SLIPS)
def test_a_slip_is_told_from_others(name: str, slip: str) -> None:
    exercise = EXERCISES[name]
    assert len(exercise.slips) == 3
    for lang in LANGUAGES:
        found = course.check(name, exercise.slips[slip], lang)
        assert not found
        assert words(lang, "exercises")[name.replace(".", "_")][slip] in found.sentence


@pytest.mark.parametrize("name", EXERCISES)
def test_any_other_answer_gets_the_hint(name: str) -> None:
    answer = np.full(np.shape(EXERCISES[name].answer), 123456.7)
    assert words("en", "exercises")[name.replace(".", "_")]["hint"] in course.check(name, answer, "en").sentence


def test_the_sentences_are_those_of_the_exercises() -> None:
    said = words("en", "exercises")
    assert said.keys() - {"verdict"} == {name.replace(".", "_") for name in EXERCISES}
    for name, exercise in EXERCISES.items():
        assert said[name.replace(".", "_")].keys() == {"right", "hint", *exercise.slips}


def test_an_answer_of_another_kind_is_told_what_is_asked_for() -> None:
    assert course.check("image.numbers", "many").sentence == "One number is asked for."
    assert course.check("image.numbers", [1, 2]).sentence == "One number is asked for."
    assert course.check("pooling.gradient", [0, 2, 0, 0]).sentence == "An array of shape 2×2 is asked for."
    assert course.check("relu.values", np.array([0.0, 0.0, 3.0]))
    assert course.check("image.grey", 124), "rounded to three digits"
    assert not course.check("image.grey", 125)


def test_an_unknown_exercise_is_named() -> None:
    with pytest.raises(UsageError, match=r"exercise 'image.size': is none of image.numbers, .*; name one of them"):
        course.check("image.size", 3)


def test_the_answers_are_those_of_the_network_and_of_torch() -> None:
    torch = pytest.importorskip("torch")
    from vgglass.architecture import Architecture, ReceptiveField

    vgg16 = Architecture.named("vgg16")
    right = {name: exercise.answer for name, exercise in EXERCISES.items()}
    assert right["family.fc6"] == vgg16.layer("fc6").parameters
    assert right["family.layers"] == sum(layer.kind == "conv" for layer in Architecture.named("E").layers())
    assert right["convolution.parameters"] == vgg16.layer("conv2_1").parameters
    assert right["shipping.bytes"] == vgg16.parameters / 1e6
    assert right["receptive.three"] == ReceptiveField().through(3).through(3).through(3).size
    assert right["receptive.pool"] == ReceptiveField().through(3).through(3).through(2, 2).through(3).size
    assert right["convolution.size"] == torch.nn.Conv2d(1, 1, 7, 2, 3)(torch.zeros(1, 1, 224, 224)).shape[2]
    assert right["pooling.size"] == torch.nn.MaxPool2d(6, 2)(torch.zeros(1, 1, 224, 224)).shape[2]
    patch, sobel = torch.arange(1.0, 10).view(1, 1, 3, 3), torch.tensor([[[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]]])
    assert right["convolution.sum"] == float(torch.conv2d(patch, sobel))
    window = torch.tensor([[[[1.0, 7], [3, 5]]]], requires_grad=True)
    torch.max_pool2d(window, 2).backward(torch.full((1, 1, 1, 1), 2.0))
    assert window.grad is not None
    assert right["pooling.gradient"] == window.grad[0, 0].tolist()
    weight = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.SGD([weight], 0.1, momentum=0.9)
    for _ in range(2):
        optimiser.zero_grad()
        weight.backward(torch.ones(1))
        optimiser.step()
    assert right["training.momentum"] == pytest.approx(weight.item())
    assert right["softmax.shift"] == pytest.approx(torch.tensor([1002.0, 1001.0]).softmax(0)[0].item(), rel=1e-6)
    loss = torch.nn.functional.cross_entropy(torch.zeros(1, 4), torch.tensor([3]))
    assert right["softmax.uniform"] == pytest.approx(loss.item())


def test_a_picture_is_the_readers_own_or_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.delenv("VGGLASS_IMAGE", raising=False)
    assert course.photo().shape == (427, 640, 3)
    Image.fromarray(np.full((1280, 320), 7, np.uint8)).save(tmp_path / "grey.png")
    assert course.photo(tmp_path / "grey.png").shape == (640, 160, 3), "never larger than a chapter can bear"
    monkeypatch.setenv("VGGLASS_IMAGE", str(tmp_path / "grey.png"))
    assert (course.photo() == 7).all()
    assert course.photo().flags.writeable, "torch.from_numpy warns of others, in the reader's notebook"


def test_pictures_that_move() -> None:
    import io

    from PIL import Image

    found = course.moving([np.zeros((2, 2)), np.ones((2, 2)), np.full((2, 2), 0.5)], 'a "step"')
    picture = Image.open(io.BytesIO(found.data))
    assert (picture.format, picture.n_frames, picture.size) == ("GIF", 3, (160, 160))  # type: ignore[attr-defined]
    assert 'alt="a &quot;step&quot;"' in found._repr_html_()
    values = []
    for frame in range(3):
        picture.seek(frame)
        values.append(picture.convert("L").getpixel((0, 0)))
    assert values == [0, 255, 128]
