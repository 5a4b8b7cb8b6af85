import pytest

from resnet_jax.native import build


@pytest.fixture(scope="session")
def kernels(tmp_path_factory) -> build.Library:
    """The kernels, with their custom calls registered; built in the user's cache, as by a run."""
    built = build.library()
    if isinstance(built, build.Unavailable):
        pytest.skip(built.reason)
    return built
