import numpy as np
import pytest

from resnet_jax.models.attention import adaptive_kernel
from tests.models.test_architecture import error
from tests.models.test_layers import Net, inputs, names, run, sigmoid


@pytest.mark.parametrize("size", [1, 3, 5])
def test_efficient_channel_attention_gates_by_the_means_of_neighbouring_channels(size):
    x = inputs(3, 5, 4, 8)
    y, variables = run(Net(f"eca({size})"), x)
    assert names(variables) == {"params/eca1/kernel"}
    kernel = np.asarray(variables["params"]["eca1"]["kernel"], np.float64)
    assert kernel.shape == (size,)
    means = x.astype(np.float64).mean((1, 2))
    # A cross-correlation with zeros around it, as convolutions of networks are.
    gates = [sigmoid(np.convolve(mean, kernel[::-1], mode="same")) for mean in means]
    np.testing.assert_allclose(y, x * np.array(gates)[:, None, None], rtol=1e-5, atol=1e-6)


def test_a_kernel_without_a_size_takes_the_papers():
    # Wang et al. 2020, arXiv 1910.03151, eq. 12 with gamma 2 and b 1.
    assert [adaptive_kernel(c) for c in (16, 32, 64, 128, 256, 512, 1024, 2048)] == [
        3, 3, 3, 5, 5, 5, 5, 7,
    ]  # fmt: skip
    assert adaptive_kernel(1) == 1
    _, variables = run(Net("eca"), inputs(2, 3, 3, 128))
    assert variables["params"]["eca1"]["kernel"].shape == (5,)


@pytest.mark.parametrize(("text", "words"), [("eca(2)", "no odd number"), ("eca(0)", "at least 1")])
def test_an_even_kernel_is_refused(tiny, text, words):
    message = error(tiny(branch=f"conv conv {text}"))
    assert words in message
    assert "write eca(kernel)" in message
