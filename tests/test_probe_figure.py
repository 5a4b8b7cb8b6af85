import json

import pytest

from resnet_jax import probe_figure, probes
from resnet_jax.errors import ConfigError, WorkdirError

UNITS = ["stage1/block1", "stage1/block2", "stage2/block1"]


def write(workdir, rows: int, **changes) -> None:
    lines = []
    for number in range(rows):
        columns = {name: [0.5, 1.0 + number, 2.0] for name in probes.MEASURES} | changes
        lines.append(json.dumps({"step": number, "epoch": number / 3, "units": UNITS, **columns}))
    (workdir / probes.FILE).write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("count", [1, 2, 30])
def test_a_picture_has_a_line_a_shown_step_and_a_line_a_unit(tmp_path, count):
    write(tmp_path, count)
    figure = probe_figure._figure(probes.rows(tmp_path / probes.FILE), "run")
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == list(probes.MEASURES.values())
    lines = [line for line in panels[0].get_lines() if len(line.get_xdata()) == len(UNITS)]
    assert len(lines) == min(count, 7)
    assert [len(axes.get_lines()) for axes in figure.axes[1:10:2]] == [len(UNITS)] * 5


def test_what_a_plain_net_lacks_is_left_out(tmp_path):
    write(tmp_path, 3, ratio=[None] * 3, cosine=[None] * 3)
    figure = probe_figure._figure(probes.rows(tmp_path / probes.FILE), "run")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert probes.MEASURES["ratio"] not in titles
    assert probes.MEASURES["mean"] in titles


def test_zeros_and_gaps_do_not_stop_the_picture(tmp_path):
    write(tmp_path, 2, ratio=[0.0, None, 0.0], mean=[-1.0, 0.0, 1.0])
    probe_figure.draw(tmp_path, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_named(tmp_path):
    with pytest.raises(WorkdirError, match=r"--config\.probe\.every=100"):
        probe_figure.draw(tmp_path, tmp_path / "x.png")
    with pytest.raises(WorkdirError, match="nothing"):
        probe_figure.draw(tmp_path / "nothing", tmp_path / "x.png")
    write(tmp_path, 0)
    with pytest.raises(WorkdirError, match="no rows"):
        probe_figure.draw(tmp_path, tmp_path / "x.png")
    write(tmp_path, 1)
    with pytest.raises(ConfigError, match=r"\.png, \.svg, \.pdf"):
        probe_figure.draw(tmp_path, tmp_path / "x.txt")
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkdirError, match="cannot write"):
        probe_figure.draw(tmp_path, tmp_path / "file" / "x.png")
