"""The contract of every row of `DESIGNS`: a new row is tested without a new test."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import step
from resnet_jax.models import architecture
from resnet_jax.models.designs import DESIGNS


@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_names_a_paper_and_its_year(name):
    assert re.search(r"[A-Z]\w+ .*(19|20)\d\d", DESIGNS[name].source)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("bottleneck", [False, True])
def test_every_design_computes_logits_and_a_finite_gradient(tiny, images, name, bottleneck):
    depth = 11 if bottleneck else 8  # one unit in each of three stages
    model = tiny(design=name, bottleneck=bottleneck, depth=depth, projection="B")
    network = architecture.build(model, 10)
    variables = step.init_variables(network, 0, images.shape[1:])
    labels = jnp.arange(len(images))

    def loss(params, batch_stats, images):
        logits, _ = network.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return step.cross_entropy(logits, labels).mean(), logits

    grad = jax.jit(jax.grad(loss, has_aux=True))
    gradients, logits = grad(variables["params"], variables["batch_stats"], images)
    assert logits.shape == (len(images), 10)
    assert np.isfinite(logits).all()
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
    # The head learns from the first step, so a signal passes through the whole network.
    assert (np.asarray(gradients["head"]["kernel"]) != 0).any()


@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_is_a_tree_of_the_same_parts(tiny, name):
    network = architecture.build(tiny(design=name), 10)
    shapes = jax.eval_shape(
        functools.partial(network.init, train=False), jax.random.key(0), jnp.zeros((1, 8, 8, 3))
    )
    parts = set(shapes["params"])
    assert {"stem", "stage1", "stage2", "stage3", "head"} <= parts <= parts | {"final"}
    assert all(set(shapes["params"][f"stage{n}"]) == {"block1"} for n in (1, 2, 3))


@pytest.mark.parametrize("name", DESIGNS)
def test_what_stands_in_front_of_the_first_conv_also_follows_the_last_unit(tiny, name):
    # A pre-activation net ends in a sum that nothing has normalised: forgetting this is the classic bug.
    final = [token.name for token in architecture.build(tiny(design=name), 10).final]
    kinds = [word.partition("(")[0] for word in DESIGNS[name].branch.split()]
    preactivation = kinds[: kinds.index("conv")]
    assert {"norm", "act"} & set(preactivation) <= set(final)


def test_the_table_has_the_designs_of_the_papers():
    # He et al. 2015 (arXiv 1512.03385, figure 2) and He et al. 2016 (arXiv 1603.05027, figure 4e).
    rows = {name: (DESIGNS[name].branch, DESIGNS[name].after) for name in DESIGNS}
    assert rows["original"] == ("conv norm act conv norm", "act")
    assert rows["full_preact"] == ("norm act conv norm act conv", "")
