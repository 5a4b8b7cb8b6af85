import argparse
import json
import re
from pathlib import Path

import pytest

from resnet_jax.commands import designs as command
from resnet_jax.errors import ConfigError, WorkdirError
from resnet_jax.models.combines import COMBINES
from resnet_jax.models.designs import DESIGNS
from resnet_jax.models.norms import NORMS
from resnet_jax.models.shortcuts import SHORTCUTS

GALLERY = Path(__file__).parents[2] / "docs" / "designs"


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_json_has_every_design_with_its_strings_formula_and_parameters(capsys):
    assert run("--json", "--depth", "20", "--set", "model.projection=B") == 0
    answer = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in answer["designs"]}
    assert answer["depth"] == 20
    assert list(rows) == list(DESIGNS)
    assert all(rows[name]["branch"] == row.branch for name, row in DESIGNS.items())
    assert all(row["formula"].startswith("y = ") and row["source"] for row in rows.values())
    # 269,722 of option A (tests/models/test_resnet.py) and two projections with their norms.
    assert rows["original"]["parameters"] == 269_722 + (16 * 32 + 64) + (32 * 64 + 128)


def test_the_table_shows_every_design_at_the_depth_of_the_papers(capsys):
    assert run() == 0
    text = capsys.readouterr().out
    for name, row in DESIGNS.items():
        assert f"\n{name} " in text
        assert row.source in text
    assert "depth 110" in text
    assert "1,727,962" in text  # He et al. 2015, table 6: 1.7M


def test_shortcuts_combines_and_norms_are_listed_too(capsys):
    assert run("--json", "--depth", "8") == 0
    answer = json.loads(capsys.readouterr().out)
    tables = {"shortcuts": SHORTCUTS, "combines": COMBINES, "norms": NORMS}
    for field, table in tables.items():
        assert [part["string"].partition("(")[0] for part in answer[field]] == list(table)
        assert all(part["meaning"] and part["formula"] for part in answer[field])
    named = {p["string"]: p["source"] for field in tables for p in answer[field]}
    unsourced = {string for string, source in named.items() if not re.search(r"20\d\d", source)}
    assert unsourced == {"learned(shortcut, branch)", "subtract", "none"}  # of norms, nothing
    assert run("--depth", "8") == 0
    text = capsys.readouterr().out
    assert all(f"\nmodel.{field}\n" in text for field in ("shortcut", "combine", "norm"))
    assert all(f"\n{string}" in text and source in text for string, source in named.items())


def test_a_drawing_is_written_where_asked(tmp_path, capsys):
    path = tmp_path / "new" / "x.svg"
    assert run("--draw", "full_preact", "--to", path, "--set", "model.shortcut=none") == 0
    assert capsys.readouterr().out == f"{path}\n"
    text = path.read_text()
    assert "with model.shortcut=none" in text
    assert "identity" not in text


def test_strings_of_ones_own_are_drawn_without_a_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("--draw", "--set", "model.branch=conv bias conv", "--set", "model.after=") == 0
    assert capsys.readouterr().out == "custom.svg\n"
    text = Path("custom.svg").read_text()
    assert "y = x + conv(conv(x) + b)" in text
    assert "strings of your own" in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--draw", "orginal"], "model.design='orginal'"),
        (["--set", "model.branch=cnv"], "'cnv'"),
        (["--set", "model.brnch=conv"], "did you mean model.branch"),
        (["--depth", "21"], "model.depth=21"),
        (["--to", "x.svg"], "--draw NAME --to FILE.svg"),
        (["--draw", "original", "--to", "x.png"], "--draw NAME --to FILE.svg"),
    ],
)
def test_a_mistake_is_named(arguments, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        run(*arguments)
    assert named in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkdirError, match="cannot write"):
        run("--draw", "original", "--to", tmp_path / "file" / "x.svg")


def test_the_gallery_of_the_docs_is_what_the_command_writes(tmp_path, capsys):
    assert run("--gallery", tmp_path) == 0
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in GALLERY.iterdir()}
    assert written == kept, "run: python -m resnet_jax designs --gallery docs/designs"
    assert written.keys() == {f"{name}.svg" for name in DESIGNS} | {"README.md"}
