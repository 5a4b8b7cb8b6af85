"""The tables in docs/ablations are what the command makes of the rows beside them."""

import json
from pathlib import Path

import pytest

from resnet_jax.ablation import analysis, render

FOLDER = Path(__file__).parents[2] / "docs" / "ablations"
SWEEPS = sorted(path.parent for path in FOLDER.glob("*/sweep.json"))


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda path: path.name)
def test_a_committed_table_can_be_made_again(sweep):
    table = analysis.analyse(sweep)
    assert (sweep / "table.md").read_text() == render.markdown(table)
    assert (sweep / "table.csv").read_text() == render.comma_separated(table)
    assert (sweep / "table.tex").read_text() == render.latex(table)


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda path: path.name)
def test_a_committed_sweep_is_complete(sweep):
    declared = json.loads((sweep / "sweep.json").read_text())
    rows = [json.loads(path.read_text()) for path in (sweep / "rows").iterdir()]
    assert len(rows) == len(declared["arms"]) * len(declared["seeds"])
    assert "Warning" not in (sweep / "table.md").read_text()
