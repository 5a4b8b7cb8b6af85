import argparse
import json

from resnet_jax import probes
from resnet_jax.commands import probes as command


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_the_picture_lies_in_the_workdir_or_where_out_says(tmp_path, capsys):
    columns = {name: [1.0] for name in probes.MEASURES}
    row = {"step": 0, "epoch": 0.0, "units": ["stage1/block1"], **columns}
    (tmp_path / probes.FILE).write_text(json.dumps(row) + "\n")
    for out, arguments in (("probes.png", []), ("x.svg", ["--out", tmp_path / "x.svg"])):
        assert run(tmp_path, *arguments) == 0
        assert capsys.readouterr().out == f"{tmp_path / out}\n"
        assert (tmp_path / out).stat().st_size > 1000
