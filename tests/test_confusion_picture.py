import numpy as np
import pytest
from PIL import Image

from resnet_jax import confusion_picture
from resnet_jax.confusion import Confusion
from resnet_jax.errors import ConfigError, WorkdirError


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_cells_have_their_counts_and_empty_ones_none():
    figure = confusion_picture._figure(np.array([[3, 1], [0, 1234]]), ["cat", "dog"], "a run")
    assert texts(figure) == ["3", "1", "1,234"]
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])


def test_of_many_classes_there_are_names_but_no_counts_and_of_very_many_neither():
    for classes, named in ((50, 50), (200, None)):
        counts = np.eye(classes, dtype=int)
        figure = confusion_picture._figure(counts, [f"c{n}" for n in range(classes)], "a run")
        assert texts(figure) == []
        labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert labels.count("c1") == (1 if named else 0)


def test_classes_without_images_are_left_out(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        confusion_picture, "_figure", lambda *parts: drawn.setdefault("parts", parts)
    )
    monkeypatch.setattr("resnet_jax.figure.save", lambda figure, out: None)
    confusion = Confusion.of(np.array([0, 2]), np.array([2, 2]), ("cat", "dog", "frog", "ship"))
    confusion_picture.draw(confusion, "a run", tmp_path / "x.png")
    counts, names, title = drawn["parts"]
    assert (counts.tolist(), names, title) == ([[0, 1], [0, 1]], ["cat", "frog"], "a run")


def test_another_kind_of_file_and_another_place_are_refused(tmp_path):
    confusion = Confusion.of(np.array([0, 1]), np.array([0, 1]), ("cat", "dog"))
    with pytest.raises(ConfigError, match=r"\.png, \.svg, \.pdf"):
        confusion_picture.draw(confusion, "a run", tmp_path / "x.bmp")
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkdirError, match="another --out"):
        confusion_picture.draw(confusion, "a run", tmp_path / "file" / "x.png")
    confusion_picture.draw(confusion, "a run", tmp_path / "new" / "x.png")
    assert (tmp_path / "new" / "x.png").exists()


@pytest.mark.parametrize("name", [r"a$\frac$b", "new\nline", "b\udcff", "花", "long " * 20])
def test_any_name_can_be_drawn(name, tmp_path, recwarn):
    confusion = Confusion.of(np.array([0, 1]), np.array([0, 1]), (name, "dog"))
    confusion_picture.draw(confusion, f"{name}: 50%", tmp_path / "x.png")
    pixels = np.asarray(Image.open(tmp_path / "x.png").convert("L"))
    assert (pixels[[0, -1]] == 255).all(), "something is cut off above or below"
    assert (pixels[:, [0, -1]] == 255).all(), "something is cut off at a side"
    assert [str(w.message) for w in recwarn] == []
