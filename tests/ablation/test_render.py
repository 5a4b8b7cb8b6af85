import csv
import json
import re

import pytest

from resnet_jax.ablation import render
from resnet_jax.ablation.analysis import analyse

ARMS = {"old": None, "new_act": "old", "odd": "old"}
RESULTS = {
    "old": [900, 902, 901, 899, 903],
    "new_act": [920, 921, 922, 919, 923],
    "odd": [890, "diverged", "failed", None, 880],
}


@pytest.fixture
def table(write_sweep):
    return analyse(write_sweep(ARMS, RESULTS))


@pytest.fixture
def clean(write_sweep):
    return analyse(
        write_sweep({"old": None, "new": "old"}, dict.fromkeys(("old", "new"), RESULTS["old"]))
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_incomplete_tables_say_so_in_the_first_line_of_every_format(table):
    words = "Warning: incomplete, 1 missing and 1 failed of 15 runs; 1 of 15 runs diverged"
    assert words in render.markdown(table).splitlines()[0]
    assert words in render.comma_separated(table).splitlines()[0]
    assert render.to_json(table)["warning"].startswith(words)
    lines = [x for x in render.latex(table).splitlines() if not x.startswith("%")]
    assert words in lines[1]
    assert lines[0].startswith(r"\begin{tabular}")


def test_complete_tables_begin_without_a_warning(clean):
    assert render.markdown(clean).startswith("# activation: Does it matter?\n")
    assert render.comma_separated(clean).startswith("arm,control,")
    assert render.to_json(clean)["warning"] is None


def test_markdown_has_percent_points_and_verdicts(table):
    lines = render.markdown(table).splitlines()
    rows = [cells(line) for line in lines if line.startswith("| ")]
    header = ["arm", "n", "mean", "spread", "median", "95% interval", "not in the mean"]
    assert rows[0] == header
    assert rows[1] == ["old", "5", "90.10%", "0.16", "90.10%", "(89.90 to 90.30)", "0"]
    assert rows[3][0] == "- odd"
    assert rows[3][-1] == "1 diverged, 1 failed, 1 missing"
    comparison = dict(zip(rows[4], rows[5], strict=True))
    assert comparison["against"] == "old"
    assert comparison["difference (95%)"].startswith("+2.00 (1.7")
    assert comparison["P(A>B)"] == "1.00"
    assert comparison["p, Holm"] == "<0.0001"
    assert comparison["verdict"].startswith("better by 2.00 points (1.")
    assert "BCa" not in comparison


def test_every_row_of_a_markdown_table_has_its_header_s_width(table):
    blocks = re.split(r"\n\n", render.markdown(table))
    tables = [block.splitlines() for block in blocks if block.startswith("| ")]
    assert len(tables) == 3
    for lines in tables:
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1


def test_csv_holds_fractions_of_every_arm(table):
    lines = render.comma_separated(table).splitlines()
    old, new, odd = csv.DictReader(lines[1:])
    assert float(old["mean"]) == pytest.approx(0.901)
    assert old["verdict"] == old["difference"] == ""
    assert float(new["difference"]) == pytest.approx(0.02)
    assert new["verdict"] == "better"
    assert (odd["n"], odd["diverged"], odd["failed"], odd["missing"]) == ("2", "1", "1", "1")


def test_json_holds_every_single_run(table):
    found = json.loads(render.dumps(table))
    assert found["format"] == 1
    assert found["arms"][1]["accuracies"] == [0.92, 0.921, 0.922, 0.919, 0.923]
    assert found["arms"][1]["seeds"] == [0, 1, 2, 3, 4]
    assert found["comparisons"][0]["verdict"]["kind"] == "better"
    assert found["declaration"]["margin"] == 0.1


def test_latex_escapes_what_it_must_and_closes_what_it_opens(table):
    text = render.latex(table)
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert r"\quad new\_act &" in body
    assert not re.search(r"(?<!\\)[_%#$](?![<>]|\$)", body.replace("$<$", "").replace("$>$", ""))
    assert body.count(r"\begin{tabular}") == body.count(r"\end{tabular}") == 2
    for block in re.findall(r"\\begin{tabular}{(l+)}(.*?)\\end", body, re.DOTALL):
        rows = [row for row in block[1].splitlines() if "&" in row]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(block[0])}


def test_names_cannot_break_a_markdown_table(write_sweep):
    table = analyse(write_sweep({"a|b": None}, {"a|b": [900, 901]}))
    assert r"| a\|b " in render.markdown(table)


def test_the_notes_say_what_was_declared(table):
    text = render.markdown(table)
    assert "no best epoch, no best seed" in text
    assert "Welch" in text
    assert "With 2 comparisons" in text
    assert "less than 0.1 points" in text
    assert "difference of 0.2 points with a chance of 80%" in text
    assert "flatters" in text


def test_the_notes_say_no_more_than_is_needed(clean):
    text = render.markdown(clean)
    assert "With 1 comparison," in text
    assert "flatters" not in text
    assert "BCa" not in text


def test_the_notes_of_pairs_name_their_test(write_sweep):
    results = dict.fromkeys(("old", "new"), RESULTS["old"])
    table = analyse(write_sweep({"old": None, "new": "old"}, results, test="sign_flip"))
    assert "sign-flip" in render.markdown(table)
    assert "Welch" not in render.markdown(table)


def test_a_table_without_a_control_only_describes(write_sweep):
    table = analyse(write_sweep({"a": None}, {"a": [900, 901]}))
    assert "nothing is compared" in render.markdown(table)
    assert render.latex(table).count(r"\begin{tabular}") == 1
