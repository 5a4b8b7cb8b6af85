import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from resnet_jax import sharding


def test_the_mesh_has_all_devices_on_one_automatic_axis():
    mesh = sharding.make_mesh()
    assert mesh.devices.size == jax.device_count() == 8
    assert mesh.axis_names == ("data",)
    assert mesh.axis_types == (AxisType.Auto,)


def test_a_mesh_of_some_devices():
    assert list(sharding.make_mesh(jax.devices()[2:4]).devices) == jax.devices()[2:4]


def test_a_batch_is_split_and_a_parameter_is_not():
    mesh = sharding.make_mesh()
    batch = jax.device_put(jnp.zeros((16, 3)), sharding.split_batch(mesh))
    whole = jax.device_put(jnp.zeros((16, 3)), sharding.replicated(mesh))
    assert {shard.data.shape for shard in batch.addressable_shards} == {(2, 3)}
    assert {shard.data.shape for shard in whole.addressable_shards} == {(16, 3)}


def test_cpu_devices_are_no_accelerator():
    assert not sharding.on_accelerator(sharding.make_mesh())
