import argparse
import json

import pytest

from resnet_jax.commands import table as command
from resnet_jax.errors import WorkdirError

FILES = {"table.md", "table.csv", "table.tex", "table.png"}


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def sweep(tmp_path):
    """Two arms of three runs whose single answers were not kept."""
    folder = tmp_path / "sweep"
    (folder / "rows").mkdir(parents=True)
    arms = [{"name": n, "overrides": {}, "control": c} for n, c in (("old", None), ("new", "old"))]
    declared = {"name": "s", "question": "q?", "test": "welch", "margin": 0.1, "smallest": 0.2}
    declared |= {"format": 1, "level": 0.05, "seeds": [0, 1, 2], "arms": arms}
    (folder / "sweep.json").write_text(json.dumps(declared))
    for arm, mean in (("old", 0.9), ("new", 0.95)):
        for seed in range(3):
            row = {"format": 1, "arm": arm, "seed": seed, "status": "done"}
            row |= {"test_accuracy": mean + 0.001 * seed, "test_examples": 1000}
            (folder / "rows" / f"{arm}-s{seed}.json").write_text(json.dumps(row))
    return folder


def test_all_formats_lie_in_the_sweep_and_the_table_is_printed(sweep, capsys):
    assert run(sweep) == 0
    assert {path.name for path in sweep.iterdir()} == FILES | {"sweep.json", "rows"}
    printed = capsys.readouterr().out
    assert (sweep / "table.md").read_text() in printed
    assert "better by 5.00 points" in printed
    assert printed.splitlines()[-1] == (
        f"written: table.md, table.csv, table.tex and table.png in {sweep}"
    )


def test_to_names_another_directory_which_is_made(sweep, tmp_path):
    target = tmp_path / "docs" / "new"
    run(sweep, "--to", target)
    assert {path.name for path in target.iterdir()} == FILES
    assert not (sweep / "table.md").exists()


def test_json_is_one_object_and_nothing_else(sweep, capsys):
    run(sweep, "--json")
    found = json.loads(capsys.readouterr().out)
    assert [arm["name"] for arm in found["arms"]] == ["old", "new"]
    assert found["comparisons"][0]["difference"] == pytest.approx(0.05)


def test_the_same_rows_give_the_same_files(sweep, tmp_path):
    for name in ("one", "two"):
        run(sweep, "--to", tmp_path / name)
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_directory_that_is_no_sweep_gets_no_files(tmp_path):
    with pytest.raises(WorkdirError, match="no directory of a sweep"):
        run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_cannot_be_written_is_named(sweep):
    with pytest.raises(WorkdirError, match="choose another --to"):
        run(sweep, "--to", sweep / "sweep.json")
