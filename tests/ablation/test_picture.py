import matplotlib.colors
import pytest

from resnet_jax.ablation import picture
from resnet_jax.ablation.analysis import analyse
from resnet_jax.errors import WorkdirError

ARMS = {"old": None, "new": "old", "odd": "old", "other": None, "child": "other"}
RESULTS = {
    "old": [900, 902, 901],
    "new": [920, 921, 922],
    "odd": [890, "diverged", 880],
    "other": [901, 901, 901],
    "child": ["diverged"] * 3,
}


@pytest.fixture
def table(write_sweep):
    return analyse(write_sweep(ARMS, RESULTS))


@pytest.fixture
def axes(table):
    return picture._figure(table).axes[0]


def test_every_single_run_is_a_point_of_its_own(table, axes):
    drawn = [points.get_offsets() for points in axes.collections]
    single = [points for points in drawn if len(points) > 1]
    assert sum(len(points) for points in single) == 11
    assert sorted(single[0][:, 0]) == pytest.approx([90.0, 90.1, 90.2])
    assert len({tuple(point) for points in single for point in points}) == 11  # also equal runs


def test_labels_count_the_runs_and_name_the_lost(axes):
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "old  (n = 3)"
    assert labels[2] == "odd  (n = 2, 1 diverged)"
    assert labels[4] == "child  (n = 0, 3 diverged)"
    weights = [label.get_fontweight() for label in axes.get_yticklabels()]
    assert weights == ["bold", "normal", "normal", "bold", "normal"]


def test_groups_stand_apart_and_the_first_arm_is_on_top(axes):
    heights = list(axes.get_yticks())
    assert heights[1] - heights[0] == heights[2] - heights[1] < heights[3] - heights[2]
    bottom, top = axes.get_ylim()
    assert top < heights[0] < heights[-1] < bottom


def test_a_dashed_line_is_the_mean_of_the_control(axes):
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == pytest.approx([90.1, 90.1])


def test_verdicts_are_written_beside_the_arms(axes):
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == ""
    assert texts[1].startswith("better by 2.00 points")
    assert "diverged" in texts[4]


def test_the_warning_and_the_question_are_above(table):
    figure = picture._figure(table)
    assert figure.get_suptitle() == "activation: Does it matter?"
    assert figure.axes[0].get_title(loc="left").startswith("Warning: 4 of 15 runs diverged")
    assert matplotlib.colors.to_rgb(figure.get_facecolor()) == (1, 1, 1)


def test_it_is_written_as_png_or_refused(table, tmp_path):
    picture.draw(table, tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(WorkdirError, match="choose another --to"):
        picture.draw(table, tmp_path / "missing" / "table.png")
