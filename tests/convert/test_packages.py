"""The networks of the packages themselves, at full size: logits, and the names of what we write.

    pip install torch torchvision timm transformers
    python -m pytest tests/convert/test_packages.py

Each package that is not installed is skipped. Weights and statistics are random: nothing is downloaded.
"""

import numpy as np
import pytest

from resnet_jax.convert import convert
from tests.convert.test_parity import DEFAULTS, converted, logits

PIXELS = 64

CLASSIFIERS = {
    "torchvision": ("resnet18", "resnet50", "wide_resnet50_2", "resnext50_32x4d"),
    "timm": ("resnet18", "resnet50", "wide_resnet50_2", "resnext50_32x4d"),
    "transformers": ("resnet18", "resnet50"),
}


def classifier(package: str, name: str):
    """The network, as its package builds it, without weights from anywhere."""
    if package == "torchvision":
        return getattr(pytest.importorskip("torchvision").models, name)(weights=None)
    if package == "timm":
        return pytest.importorskip("timm").create_model(name, pretrained=False)
    transformers = pytest.importorskip("transformers")
    basic = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}
    config = transformers.ResNetConfig(**(basic if name == "resnet18" else {}), num_labels=10)
    return transformers.ResNetForImageClassification(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "name"),
    [(package, name) for package in CLASSIFIERS for name in CLASSIFIERS[package]],
)
def test_logits_and_names_of_a_package(package, name):
    torch = pytest.importorskip("torch")
    from tests.convert.networks import randomised

    net = randomised(classifier(package, name), seed=1).eval()
    images = torch.randn((2, 3, PIXELS, PIXELS), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = net(images)
    expected = getattr(expected, "logits", expected).numpy()
    tensors = {key: value.numpy() for key, value in net.state_dict().items()}
    family, _, model, variables = converted(tensors)
    found = np.asarray(logits(model, variables, images.numpy()))
    scale = np.abs(expected).max()
    assert scale > 0.1
    print(f"{package} {name}: {np.abs(found - expected).max():.1e} of {scale:.3g}")
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    assert convert.to_tensors(family, variables, model, DEFAULTS, step=0).keys() == tensors.keys()
