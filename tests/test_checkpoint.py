import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import checkpoint, plan, sharding, step
from resnet_jax.errors import ConfigError, WorkdirError


@pytest.fixture
def make_state(tiny_config):
    """A function from a number of devices and a step to a state."""

    def make(devices=1, at=0):
        recipe = plan.make(tiny_config, jax.devices()[:devices]).recipe
        state = step.init_state(recipe, 0, (8, 8, 1))
        mesh = sharding.replicated(recipe.batches.mesh)
        return state.replace(step=jax.device_put(jnp.int32(at), mesh))

    return make


@pytest.fixture
def checkpoints(tmp_path):
    opened = checkpoint.Checkpoints(tmp_path)
    yield opened
    opened.close()


def test_a_state_comes_back_bit_for_bit_with_what_was_saved_beside_it(checkpoints, make_state):
    state = make_state(at=7)
    checkpoints.save(state, {"seconds": 1.5})
    restored, extra = checkpoints.restore(make_state(), 7)
    assert checkpoint.sha256(restored) == checkpoint.sha256(state)
    assert extra == {"seconds": 1.5}
    assert jax.tree.structure(restored) == jax.tree.structure(state)


@pytest.mark.parametrize(("before", "after"), [(8, 1), (1, 8), (2, 4)])
def test_another_number_of_devices_can_go_on(checkpoints, make_state, before, after):
    state = make_state(before, 3)
    checkpoints.save(state, {})
    restored, _ = checkpoints.restore(make_state(after), 3)
    assert checkpoint.sha256(restored) == checkpoint.sha256(state)
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(restored)} == {after}


def test_a_saved_step_is_on_disk_when_save_returns(tmp_path, make_state):
    first = checkpoint.Checkpoints(tmp_path)
    first.save(make_state(at=5), {})
    second = checkpoint.Checkpoints(tmp_path, read_only=True)  # another process would see the same
    assert second.latest_step() == 5
    first.close()
    second.close()


def test_the_newest_are_kept_and_the_best_beside_them(tmp_path, make_state):
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=2)
    for at, accuracy in ((1, 0.5), (2, 0.9), (3, 0.4), (4, None), (5, 0.7)):
        checkpoints.save(make_state(at=at), {}, accuracy)
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.latest_step() == 5
    assert checkpoints.best_step() == 2
    checkpoints.close()
    reopened = checkpoint.Checkpoints(tmp_path, keep=2)
    assert reopened.best_accuracy() == 0.9
    reopened.close()


def test_without_validation_there_is_no_best(checkpoints, make_state):
    assert checkpoints.latest_step() is None
    checkpoints.save(make_state(at=1), {})
    assert checkpoints.best_step() is None
    assert checkpoints.best_accuracy() is None


def test_saving_a_step_twice_is_an_error_not_silence(checkpoints, make_state):
    checkpoints.save(make_state(at=4), {})
    with pytest.raises(WorkdirError, match="step 4 could not be saved"):
        checkpoints.save(make_state(at=4), {})


def test_another_structure_is_refused_in_a_few_lines(checkpoints, make_state, tiny_config):
    checkpoints.save(make_state(at=4), {})
    tiny_config.model.stage_widths = (4, 8, 16)
    with pytest.raises(WorkdirError, match="4 could not be read") as error:
        checkpoints.restore(make_state(), 4)
    assert not isinstance(error.value, checkpoint.DamagedError)
    assert str(error.value).count("\n") == 1


def test_a_damaged_checkpoint_is_an_error_in_a_few_lines(tmp_path, make_state, capfd):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(make_state(at=4), {})
    for file in (tmp_path / "checkpoints/4/state").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(checkpoint.DamagedError, match="4 could not be read"):
        checkpoints.restore(make_state(), 4)
    checkpoints.close()
    assert len(capfd.readouterr().err.splitlines()) < 3


def test_a_flipped_bit_in_an_array_is_noticed(tmp_path, make_state):
    """Orbax restores it without a word, as other numbers."""
    checkpoints = checkpoint.Checkpoints(tmp_path)
    state = make_state(at=4)
    checkpoints.save(state, {})
    file = max((tmp_path / "checkpoints/4/state").rglob("d/*"), key=lambda f: f.stat().st_size)
    content, noticed = file.read_bytes(), 0
    for place in range(len(content) // 10, len(content), len(content) // 5):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            restored, _ = checkpoints.restore(make_state(), 4)
        except checkpoint.DamagedError:
            noticed += 1
        else:  # a byte that no array uses
            assert checkpoint.sha256(restored) == checkpoint.sha256(state)
    assert noticed >= 3
    checkpoints.close()


def test_a_damaged_step_is_moved_aside_and_can_be_saved_again(tmp_path, make_state):
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=2)
    for at in (1, 2):
        checkpoints.save(make_state(at=at), {})
    assert checkpoints.set_aside(2) == tmp_path / "checkpoints-damaged/2"
    assert checkpoints.steps() == [1]
    checkpoints.save(make_state(at=2), {})
    assert checkpoints.set_aside(2) == tmp_path / "checkpoints-damaged/2-1"
    checkpoints.close()


def test_variables_are_read_without_knowing_the_network(tmp_path, make_state):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    state = make_state(at=4)
    checkpoints.save(state, {})
    checkpoints.close()
    assert checkpoint.newest(tmp_path) == 4
    found = checkpoint.read_variables(tmp_path, 4)
    assert checkpoint.sha256(found) == checkpoint.sha256(state.evaluated())
    with pytest.raises(WorkdirError, match="the steps saved are: 4"):
        checkpoint.read_variables(tmp_path, 5)


def test_one_checkpoint_is_chosen_by_name_or_number(tmp_path, make_state):
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=3)
    for at, accuracy in ((1, 0.9), (2, 0.5)):
        checkpoints.save(make_state(at=at), {}, accuracy)
    checkpoints.close()
    for name, at in (("latest", 2), ("best", 1), ("1", 1)):
        assert int(checkpoint.read(tmp_path, make_state(), name).step) == at


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("newest", ConfigError, "latest, best or a number"),
        ("9", WorkdirError, "steps saved are: 2"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_named(tmp_path, make_state, name, error, words):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(make_state(at=2), {})
    checkpoints.close()
    with pytest.raises(error, match=words):
        checkpoint.read(tmp_path, make_state(), name)


def test_a_workdir_without_checkpoints_is_named(tmp_path, make_state):
    with pytest.raises(WorkdirError, match="no checkpoint yet"):
        checkpoint.read(tmp_path, make_state(), "latest")


class TestSha256:
    @property
    def tree(self):
        return {"b": np.arange(4, dtype=np.float32), "a": np.ones((2, 1), np.int32)}

    def changed(self, **leaves):
        return checkpoint.sha256({**self.tree, **leaves})

    def test_it_is_a_function_of_the_content(self):
        reordered = dict(reversed(self.tree.items()))
        assert checkpoint.sha256(self.tree) == checkpoint.sha256(reordered)

    @pytest.mark.parametrize(
        "leaf",
        [
            np.array([0, 1, 2, 3.0000002], np.float32),
            np.arange(4, dtype=np.int32),
            np.arange(4, dtype=np.float32).reshape(2, 2),
            np.array([-0.0, 1, 2, 3], np.float32),
        ],
    )
    def test_one_bit_one_dtype_or_one_shape_changes_it(self, leaf):
        assert self.changed(b=leaf) != checkpoint.sha256(self.tree)

    def test_devices_do_not_matter(self):
        mesh = sharding.make_mesh()
        placed = jax.device_put(self.tree, sharding.replicated(mesh))
        assert checkpoint.sha256(placed) == checkpoint.sha256(self.tree)
