import math

import jax

from resnet_jax import profile, train


def test_a_run_with_a_profile_writes_a_trace_and_says_what_costs_most(
    tiny_config, one_device, tmp_path, capsys
):
    tiny_config.num_steps = profile.FIRST_STEP + profile.STEPS + 3
    tiny_config.profile = True
    plain = tiny_config.copy_and_resolve_references()
    plain.profile = False
    traced = train.train_and_evaluate(tiny_config, tmp_path / "traced", one_device)
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("profile "))
    costs = [line.split() for line in lines[first + 1 : first + 11]]
    shares = [float(words[0].rstrip("%")) for words in costs]
    assert all(words[2:5] == ["ms", "a", "step"] and words[-2] == "calls" for words in costs)
    assert shares == sorted(shares, reverse=True)
    assert 30 < sum(shares) <= 100.1
    assert list((tmp_path / "traced/profile").rglob("*.xplane.pb"))
    # Looking changes nothing.
    result = train.train_and_evaluate(plain, tmp_path / "plain", one_device)
    assert traced["state_sha256"] == result["state_sha256"]


def test_dispatches_end_where_the_trace_begins_and_ends(tmp_path):
    profiler = profile.Profiler(tmp_path, done=100)
    assert profiler.steps_left(100) == profile.FIRST_STEP
    assert profiler.steps_left(100 + profile.FIRST_STEP) == profile.STEPS
    assert profiler.steps_left(100 + profile.FIRST_STEP + profile.STEPS) == math.inf


def test_costs_of_a_trace_are_shares_of_one(tmp_path):
    product = jax.jit(lambda x: jax.numpy.tanh(x @ x))
    x = jax.numpy.ones((256, 256))
    product(x).block_until_ready()
    with jax.profiler.trace(str(tmp_path)):
        product(x).block_until_ready()
    costs = profile.costliest(tmp_path, steps=1, count=100)
    assert costs
    assert math.isclose(sum(cost.share for cost in costs), 1)
