import argparse
import csv
import json

import numpy as np
import pytest
from PIL import Image

from resnet_jax import rebuilt
from resnet_jax import workdir as files
from resnet_jax.commands import predict as command
from resnet_jax.errors import ConfigError, DataError


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def digits(trained, tmp_path):
    """The first four test images as files, with their labels."""
    examples = rebuilt.rebuild(trained).examples("test")
    (tmp_path / "digits").mkdir()
    for number in range(4):
        image = Image.fromarray(examples.images[number, ..., 0])
        image.save(tmp_path / "digits" / f"{number}.png")
    return tmp_path / "digits"


@pytest.fixture
def table(trained, tmp_path, capfd):
    """The rows of the table of the test images."""
    assert run(trained, "--split", "test", "--csv", tmp_path / "test.csv") == 0
    capfd.readouterr()
    return list(csv.DictReader((tmp_path / "test.csv").open()))


def test_a_file_is_predicted_as_the_image_of_the_data_set(trained, digits, table, tmp_path, capfd):
    assert run(trained, digits, "--out", tmp_path / "x.png", "--top", 10, "--json") == 0
    found = json.loads(capfd.readouterr().out)["images"]
    assert [each["image"] for each in found] == [str(digits / f"{n}.png") for n in range(4)]
    for each, row in zip(found, table, strict=False):
        assert each["predictions"][0]["class"] == row["predicted"]
        for one in each["predictions"]:
            assert one["probability"] == pytest.approx(float(row[one["class"]]), abs=1e-4)
        assert sum(one["probability"] for one in each["predictions"]) == pytest.approx(1)
    assert (tmp_path / "x.png").stat().st_size > 2000


def test_the_table_of_a_split_has_every_image_and_agrees_with_the_run(trained, table):
    assert [int(row["image"]) for row in table] == list(range(360))
    right = [row["label"] == row["predicted"] for row in table]
    np.testing.assert_array_equal(right, files.read_correct(trained))
    for row in table[:20]:
        shares = [float(row[str(digit)]) for digit in range(10)]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert shares[int(row["predicted"])] == max(shares)


def test_people_read_a_line_a_file(trained, digits, tmp_path, capfd):
    path, sheet = tmp_path / "x.png", tmp_path / "mine.csv"
    assert run(trained, digits / "0.png", "--out", path, "--csv", sheet, "--top", 2) == 0
    line, last = capfd.readouterr().out.splitlines()
    assert line.startswith(str(digits / "0.png"))
    assert line.count("%") == 2
    assert last == f"picture   {path}"
    assert next(iter(csv.DictReader(sheet.open()))).keys() >= {"image", "predicted", "0", "9"}


def test_of_a_run_whose_data_is_gone_files_are_still_predicted(
    trained, digits, tmp_path, monkeypatch
):
    def missing(*arguments):
        raise DataError("no data")

    monkeypatch.setattr("resnet_jax.data.source.check", missing)
    monkeypatch.setattr("resnet_jax.data.source.load", missing)
    assert run(trained, digits, "--out", tmp_path / "x.png") == 0
    with pytest.raises(DataError, match="no data"):
        run(trained, "--split", "test", "--csv", tmp_path / "x.csv")


def test_an_unreadable_image_is_named_and_nothing_written(
    trained, digits, tmp_path, contents, monkeypatch
):
    (digits / "4.png").write_bytes(b"x")
    before = contents(tmp_path) | contents(trained)
    with pytest.raises(DataError, match=r"1 of 5 images .*4\.png \(no image\)"):
        run(trained, digits, "--csv", tmp_path / "x.csv")
    assert contents(tmp_path) | contents(trained) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no images; name files or directories"),
        (["x.png", "--top", "0"], "--top 0"),
        (["x.png", "--out", "x.jpg"], r"\.png"),
        (["x.png", "--split", "test", "--csv", "x.csv"], "instead of images"),
        (["--split", "test"], "--split needs --csv FILE"),
        (["--split", "tset", "--csv", "x.csv"], "there are train, test, validation"),
    ],
)
def test_wrong_arguments_write_nothing(trained, tmp_path, monkeypatch, contents, arguments, words):
    monkeypatch.chdir(tmp_path)
    before = contents(trained)
    with pytest.raises(ConfigError, match=words):
        run(trained, *arguments)
    assert contents(trained) == before
    assert list(tmp_path.iterdir()) == []
