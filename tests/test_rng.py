import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import rng


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


def test_streams_and_seeds_have_keys_of_their_own():
    keys = {bits(rng.key(seed, stream)) for seed in range(3) for stream in rng.Stream}
    assert len(keys) == 3 * len(rng.Stream)


def test_the_seed_may_be_traced():
    traced = jax.jit(lambda seed: rng.key(seed, rng.Stream.INIT))(jnp.uint32(7))
    assert bits(traced) == bits(rng.key(7, rng.Stream.INIT))


def test_a_key_depends_on_its_position_alone():
    whole = rng.keys_at(0, rng.Stream.AUGMENT, jnp.arange(10))
    part = rng.keys_at(0, rng.Stream.AUGMENT, jnp.arange(4, 6))
    assert bits(part) == bits(whole[4:6])
    assert len({bits(key) for key in whole}) == 10
