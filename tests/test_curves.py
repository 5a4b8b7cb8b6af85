import json
import sys
import warnings
from pathlib import Path

import pytest

from resnet_jax import curves
from resnet_jax import workdir as files
from resnet_jax.errors import ConfigError, WorkdirError
from resnet_jax.figure import FORMATS

BEGINNINGS = {".png": b"\x89PNG\r\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}


def run(workdir: Path, *splits: str, rows: int = 5, accuracy: float | None = None) -> Path:
    """A workdir whose error falls from epoch to epoch."""
    workdir.mkdir(parents=True)
    lines = []
    for split in splits:
        for number in range(1, (1 if split == "test" else rows) + 1):
            right = 1 - 0.5**number if accuracy is None else accuracy
            row = {"step": 10 * number, "epoch": float(number), "split": split}
            lines.append(json.dumps(row | {"loss": 1 / number, "accuracy": right}) + "\n")
    (workdir / files.METRICS).write_text("".join(lines))
    return workdir


def figure(*workdirs: Path):
    return curves._figure({w: curves.writer.read(w / files.METRICS) for w in workdirs})


def texts(legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("suffix", [*FORMATS, ".PNG"])
def test_the_suffix_is_the_format(tmp_path, suffix):
    out = tmp_path / f"picture{suffix}"
    curves.draw([run(tmp_path / "a", "train", "validation", "test")], out)
    assert out.read_bytes().startswith(BEGINNINGS[suffix.lower()])


@pytest.mark.parametrize("name", ["picture.gif", "picture", "picture.png.txt", ".png"])
def test_another_suffix_is_refused_with_those_that_exist(tmp_path, name):
    with pytest.raises(ConfigError, match=r"\.png, \.svg, \.pdf"):
        curves.draw([run(tmp_path / "a", "train")], tmp_path / name)
    assert not (tmp_path / name).exists()


def test_lines_are_loss_and_error_in_percent_over_epochs(tmp_path):
    drawn = figure(run(tmp_path / "a", "train", "validation", "test"))
    loss, error = drawn.axes
    for axes in (loss, error):
        assert [list(line.get_xdata()) for line in axes.lines] == [
            [1, 2, 3, 4, 5],
            [1, 2, 3, 4, 5],
            [1],
        ]
        assert axes.get_xlabel() == "epoch"
        assert axes.get_yscale() == "log"
        assert axes.get_xlim()[0] == 0
    assert list(loss.lines[0].get_ydata()) == [1 / n for n in range(1, 6)]
    assert list(error.lines[0].get_ydata()) == [50.0, 25.0, 12.5, 6.25, 3.125]
    assert error.get_ylabel() == "wrong images, %"
    assert loss.lines[0].get_linestyle() != loss.lines[1].get_linestyle()
    assert loss.lines[2].get_marker() == "o"


def test_legends_name_runs_with_their_test_error_and_the_kinds_of_lines(tmp_path):
    drawn = figure(run(tmp_path / "a", "train", "test"), run(tmp_path / "b", "train", "validation"))
    assert texts(drawn.legends[0]) == ["a: test error 50.00%", "b: not finished"]
    assert texts(drawn.axes[0].get_legend()) == ["train", "validation", "test"]
    colors = [{line.get_color() for line in axes.lines} for axes in drawn.axes]
    assert colors == [{"C0", "C1"}] * 2


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    first, second = run(tmp_path / "x" / "a", "train"), run(tmp_path / "y" / "a", "train")
    assert texts(figure(first, second).legends[0]) == [
        f"{first}: not finished",
        f"{second}: not finished",
    ]


def test_a_run_is_named_after_its_folder_wherever_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(run(tmp_path / "a", "train"))
    assert texts(figure(Path()).legends[0]) == ["a: not finished"]


@pytest.mark.parametrize("runs", [1, 12])
def test_nothing_is_cut_off(tmp_path, runs):
    drawn = figure(*(run(tmp_path / f"r{i}", "train", "test") for i in range(runs)))
    drawn.savefig(tmp_path / "picture.png")
    for artist in (*drawn.axes, *drawn.legends):
        box = artist.get_tightbbox() if hasattr(artist, "lines") else artist.get_window_extent()
        assert drawn.bbox.x0 <= box.x0 < box.x1 <= drawn.bbox.x1
        assert drawn.bbox.y0 <= box.y0 < box.y1 <= drawn.bbox.y1
    legend, axes = drawn.legends[0].get_window_extent(), drawn.axes[0].get_tightbbox()
    assert legend.y1 <= axes.y0
    assert drawn.axes[0].bbox.height > 200


def test_one_point_is_visible(tmp_path):
    for axes in figure(run(tmp_path / "a", "train", rows=1)).axes:
        assert axes.lines[0].get_marker() == "."


def test_a_run_without_errors_can_be_drawn(tmp_path):
    """A logarithm has no zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves.draw([run(tmp_path / "a", "train", "test", accuracy=1.0)], tmp_path / "a.png")


def test_a_run_without_rows_is_refused_with_its_name(tmp_path):
    runs = [run(tmp_path / "a", "train"), run(tmp_path / "b"), run(tmp_path / "c")]
    with pytest.raises(WorkdirError, match="no rows to draw yet") as caught:
        curves.draw(runs, tmp_path / "out.png")
    assert f"{tmp_path / 'b'}, {tmp_path / 'c'}: " in str(caught.value)
    assert str(tmp_path / "a") not in str(caught.value)


def test_what_is_no_workdir_is_refused_with_its_name(tmp_path):
    with pytest.raises(WorkdirError, match="nothing"):
        curves.draw([tmp_path / "nothing"], tmp_path / "out.png")


def test_a_picture_that_cannot_be_written_is_refused_with_its_name(tmp_path):
    workdir = run(tmp_path / "a", "train")
    with pytest.raises(WorkdirError, match=r"x\.png.*--out"):
        curves.draw([workdir], workdir / files.METRICS / "x.png")


def test_drawing_needs_no_display_and_no_global_state(tmp_path):
    sys.modules.pop("matplotlib.pyplot", None)
    curves.draw([run(tmp_path / "a", "train")], tmp_path / "a.png")
    assert "matplotlib.pyplot" not in sys.modules
