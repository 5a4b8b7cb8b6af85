import jax
import numpy as np
import pytest

from resnet_jax import params, plan, step
from resnet_jax.convert import convert
from resnet_jax.errors import ConfigError
from resnet_jax.finetune import freeze, load
from resnet_jax.models import architecture

TOKENS = "dense(12) act drop(0.5) dense(7) act(gelu)"


def build(config, text=""):
    config.model.head = text
    return architecture.build(config.model, 10, channels=1)


def shapes(config, text=""):
    made = step.init_variables(build(config, text), 0, (8, 8, 1))["params"]
    return dict(
        zip(params.names(made), [leaf.shape for leaf in jax.tree.leaves(made)], strict=True)
    )


def test_no_tokens_leave_names_and_counts_as_they_were(tiny_config):
    plain = shapes(tiny_config)
    assert {name for name in plain if name.startswith("head")} == {"head/kernel", "head/bias"}
    assert plain["head/kernel"] == (8, 10)


def test_hidden_layers_come_before_the_last_one_and_change_nothing_else(tiny_config):
    plain, hidden = shapes(tiny_config), shapes(tiny_config, TOKENS)
    new = {name: shape for name, shape in hidden.items() if plain.get(name) != shape}
    assert new == {
        "head_hidden1/kernel": (8, 12),
        "head_hidden1/bias": (12,),
        "head_hidden2/kernel": (12, 7),
        "head_hidden2/bias": (7,),
        "head/kernel": (7, 10),
    }


def test_the_logits_are_those_of_the_layers_in_order(tiny_config):
    model, images = build(tiny_config, TOKENS), np.random.default_rng(0).normal(size=(2, 8, 8, 1))
    variables = step.init_variables(model, 0, (8, 8, 1))
    plain = build(tiny_config)
    # Behind an identity for a last layer, the plain network's logits are the pooled features.
    whole = {"head": {"kernel": np.eye(8, dtype=np.float32), "bias": np.zeros(8, np.float32)}}
    body = {**{k: v for k, v in variables["params"].items() if "head" not in k}, **whole}
    evaluate = jax.jit(lambda m, v: m.apply(v, images, train=False), static_argnums=0)
    x = evaluate(plain.clone(num_classes=8), {**variables, "params": body})
    for name, act in (("head_hidden1", jax.nn.relu), ("head_hidden2", jax.nn.gelu), ("head", None)):
        layer = variables["params"][name]
        x = x @ layer["kernel"] + layer["bias"]
        x = act(x) if act else x
    np.testing.assert_allclose(evaluate(model, variables), x, rtol=1e-4, atol=1e-6)


def test_a_linear_probe_trains_the_hidden_layers_too(tiny_config):
    tiny_config.model.head = TOKENS
    tiny_config.finetune.freeze = ("all_but_head",)
    tiny_config.optimizer.adaptive_clip = 0.01
    recipe = plan.make(tiny_config, jax.devices()[:1]).recipe
    variables = step.init_variables(recipe.model, 0, (8, 8, 1))
    trained = set(params.names(recipe.split(variables["params"])[0]))
    heads = {name for name in shapes(tiny_config, TOKENS) if name.startswith("head")}
    assert trained == heads


def test_one_pattern_means_the_whole_head(tiny_config):
    hidden = step.init_variables(build(tiny_config, TOKENS), 0, (8, 8, 1))
    plain = step.init_variables(build(tiny_config), 1, (8, 8, 1))
    with pytest.raises(ConfigError, match=r"hidden layers.*\n?.*head\.\*"):
        load.combine(hidden, plain, reinit=("head",))
    merged, account = load.combine(hidden, plain, reinit=("head.*",))
    assert all(name.startswith("params/head") for name in account.fresh)
    assert len(account.fresh) == 6
    assert jax.tree.structure(merged["params"]) == jax.tree.structure(hidden["params"])
    frozen = freeze.resolve(hidden["params"], hidden["batch_stats"], ("head.*",))
    assert sum(jax.tree.leaves(frozen.params)) == 6


def test_pytorch_has_no_names_for_hidden_layers(tiny_config):
    model = build(tiny_config, "dense(4)")
    variables = step.init_variables(model, 0, (8, 8, 1))
    for family in convert.LAYOUTS.values():
        with pytest.raises(ConfigError, match="cannot express"):
            convert.to_tensors(family, variables, model, tiny_config.model, 0)
