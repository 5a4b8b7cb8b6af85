"""What the pages say is what the code does."""

import re
from pathlib import Path

import jax
import pytest

from resnet_jax.__main__ import summaries
from resnet_jax.data import augment, views
from resnet_jax.models.combines import COMBINES
from resnet_jax.models.designs import DESIGNS
from resnet_jax.models.layers import ACTIVATIONS, VOCABULARY
from resnet_jax.models.norms import NORMS
from resnet_jax.models.shortcuts import SHORTCUTS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
README = (ROOT / "README.md").read_text()


def test_the_readmes_python_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["logits"].shape == (8, 10)
    assert jax.numpy.isfinite(names["logits"]).all()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configs_and_commands_in_the_pages_exist(page):
    text = page.read_text()
    for config in re.findall(r"configs/(\w+)\.py", text):
        assert (ROOT / f"configs/{config}.py").exists() or config == "NAME"
    for command in re.findall(r"-m resnet_jax ([a-z][\w-]*)", text):
        assert command in summaries()


def test_the_readme_lists_every_config_token_design_and_kind():
    for path in (ROOT / "configs").glob("*.py"):
        assert path.name == "__init__.py" or f"`{path.name}`" in README
    tokens = (*VOCABULARY, *augment.VOCABULARY, *views.VOCABULARY)
    for name in (*tokens, *DESIGNS, *ACTIVATIONS, *NORMS, *SHORTCUTS, *COMBINES):
        assert re.search(rf"`{name}[`(]", README), name
    for name, design in DESIGNS.items():
        assert f"| `{name}` | `{design.branch}` |" in README


def test_the_page_of_designs_explains_every_design_shortcut_and_way_to_combine():
    page = (ROOT / "docs/designs.md").read_text()
    for name in (*DESIGNS, *SHORTCUTS, *COMBINES):
        assert re.search(rf"`{name}[`(]", page), name


def test_the_default_config_lists_every_design_shortcut_and_way_to_combine():
    text = (ROOT / "configs/default.py").read_text()
    for name in (*DESIGNS, *SHORTCUTS, *COMBINES):
        assert re.search(rf"\b{name}\b", text), name


def test_the_default_config_lists_every_augmentation():
    text = (ROOT / "configs/default.py").read_text()
    for name in (*augment.VOCABULARY, *views.VOCABULARY):
        assert re.search(rf"\b{name}\b", text), name


def test_the_page_of_augmentation_explains_every_token():
    page = (ROOT / "docs/augmentation.md").read_text()
    for name in (*augment.VOCABULARY, *views.VOCABULARY):
        assert re.search(rf"`{name}[`(]", page), name
