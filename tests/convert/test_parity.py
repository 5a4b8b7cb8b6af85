"""Converted networks compute what PyTorch's do: stored logits always, fresh ones where it is installed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from resnet_jax import params
from resnet_jax.convert import convert, network, safetensors_file, weights_file
from resnet_jax.models import architecture
from resnet_jax.step import init_variables
from tests.convert.conftest import FIXTURES, NAMES, fixture_file

EXPECTED = np.load(FIXTURES / "expected.npz")
DEFAULTS = default.get_config().model


def converted(tensors):
    """(family, what was inferred, model, variables) of a state dict."""
    family = convert.detect(tensors)
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    found = network.infer(family, shapes, DEFAULTS)
    model = architecture.build(network.apply(found.fields, DEFAULTS), found.classes)
    return family, found, model, convert.to_variables(family, tensors, model, found.channels)


@functools.partial(jax.jit, static_argnums=0)
def logits(model, variables, images):
    """Images are [B, C, H, W], as PyTorch has them."""
    return model.apply(variables, jnp.transpose(images, (0, 2, 3, 1)), train=False)


@pytest.mark.parametrize("name", NAMES)
def test_stored_logits_of_each_family(name):
    family, _, model, variables = converted(weights_file.read(fixture_file(name)).tensors)
    assert name.startswith(family.name)
    expected = EXPECTED[name]
    assert np.ptp(expected) > 0.5  # logits that are all alike would agree with anything
    np.testing.assert_allclose(logits(model, variables, EXPECTED["images"]), expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_a_fresh_network_of_each_family(name):
    torch = pytest.importorskip("torch")
    from tests.convert.networks import FAMILIES, randomised

    net = randomised(FAMILIES[name](), seed=100)
    images = torch.randn(EXPECTED["images"].shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = net(images).numpy()
    tensors = {key: value.numpy() for key, value in net.state_dict().items()}
    _, _, model, variables = converted(tensors)
    np.testing.assert_allclose(logits(model, variables, images.numpy()), expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back_is_exact_to_the_bit(name):
    tensors = weights_file.read(fixture_file(name)).tensors
    family, _, model, variables = converted(tensors)
    back = convert.to_tensors(family, variables, model, DEFAULTS, step=3)
    assert back.keys() == tensors.keys()
    for key in tensors:
        assert back[key].tobytes() == tensors[key].tobytes(), key
    again = converted(back)[3]
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, again))


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_loads_what_we_write(name, tmp_path):
    torch = pytest.importorskip("torch")
    from tests.convert.networks import FAMILIES

    family, _, model, variables = converted(weights_file.read(fixture_file(name)).tensors)
    written = convert.to_tensors(family, variables, model, DEFAULTS, step=0)
    path = tmp_path / "net.safetensors"
    path.write_bytes(safetensors_file.encode(written, {"format": "pt"}))
    net = FAMILIES[name]().eval()
    read = safetensors_file.read(path)[0]
    net.load_state_dict({key: torch.tensor(value) for key, value in read.items()}, strict=True)
    with torch.inference_mode():
        found = net(torch.tensor(EXPECTED["images"])).numpy()
    np.testing.assert_allclose(found, EXPECTED[name], atol=1e-5)


BASIC, DEEP = {"bottleneck": False}, {"bottleneck": True}
PUBLISHED = {
    # torchvision's documentation, num_params of each model's weights.
    "resnet18": (18, BASIC, 11_689_512),
    "resnet34": (34, BASIC, 21_797_672),
    "resnet50": (50, DEEP, 25_557_032),
    "resnet101": (101, DEEP, 44_549_160),
    "resnet152": (152, DEEP, 60_192_808),
    "wide_resnet50_2": (50, DEEP | {"bottleneck_width": 128}, 68_883_240),
    "resnext50_32x4d": (50, DEEP | {"bottleneck_width": 4, "groups": 32}, 25_028_904),
    "resnext101_32x8d": (101, DEEP | {"bottleneck_width": 8, "groups": 32}, 88_791_336),
}


@pytest.mark.parametrize(
    ("family", "name"),
    [*(("torchvision", name) for name in PUBLISHED), ("hugging_face", "resnet50")],
)
def test_published_networks_are_recognised_from_their_shapes(family, name):
    depth, more, parameters = PUBLISHED[name]
    fields = {"depth": depth, "stage_widths": (64, 128, 256, 512), "stem": "imagenet"}
    model = architecture.build(
        network.apply(fields | {"projection": "B"} | more, DEFAULTS), num_classes=1000
    )
    variables = jax.eval_shape(lambda: init_variables(model, 0, (64, 64, 3)))
    assert params.count(variables["params"]) == parameters
    layout = convert.LAYOUTS[family]
    shapes = {}
    for tree in variables.values():
        for leaf, shape in zip(params.names(tree), jax.tree.leaves(tree), strict=True):
            order = (3, 2, 0, 1) if shape.ndim == 4 else (1, 0)[: shape.ndim]
            order = order if leaf.endswith("/kernel") else (0,)
            shapes[layout.key(leaf)] = tuple(shape.shape[i] for i in order)
    found = network.infer(layout, shapes, DEFAULTS)
    assert found.fields["depth"] == depth
    assert found.fields["stage_sizes"] is None
    assert architecture.build(network.apply(found.fields, DEFAULTS), found.classes) == model


NAMES_OF_RESNET50 = {
    "torchvision": {
        "stem/conv/kernel": "conv1.weight",
        "stem/norm/var": "bn1.running_var",
        "stage1/block1/conv1/kernel": "layer1.0.conv1.weight",
        "stage4/block3/norm3/scale": "layer4.2.bn3.weight",
        "stage2/block1/projection/conv/kernel": "layer2.0.downsample.0.weight",
        "stage2/block1/projection/norm/mean": "layer2.0.downsample.1.running_mean",
        "head/kernel": "fc.weight",
    },
    "hugging_face": {
        "stem/conv/kernel": "resnet.embedder.embedder.convolution.weight",
        "stem/norm/bias": "resnet.embedder.embedder.normalization.bias",
        "stage1/block1/conv1/kernel": "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight",
        "stage4/block3/norm3/scale": "resnet.encoder.stages.3.layers.2.layer.2.normalization.weight",
        "stage2/block1/projection/conv/kernel": (
            "resnet.encoder.stages.1.layers.0.shortcut.convolution.weight"
        ),
        "head/bias": "classifier.1.bias",
    },
    "cifar": {
        "stage3/block1/conv2/kernel": "layer3.0.conv2.weight",
        "stage3/block1/projection/norm/scale": "layer3.0.shortcut.1.weight",
        "head/bias": "linear.bias",
    },
}


@pytest.mark.parametrize("family", NAMES_OF_RESNET50)
def test_names_are_those_of_the_published_files(family):
    for ours, theirs in NAMES_OF_RESNET50[family].items():
        assert convert.LAYOUTS[family].key(ours) == theirs
