"""Handwritten digits of scikit-learn: 1,797 images of 8x8 pixels in 10 classes, no download.

For a first run, for smoke tests, and wherever there is no network. Each pixel counts the ink in a
4x4 block of a 32x32 scan, 0..16; here it is scaled to 0..255.
"""

import numpy as np

from resnet_jax.data.spec import Dataset


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """One split, (images uint8 [N, 8, 8, 1], labels int32 [N]), in scikit-learn's order.

    The source has no split of its own that scikit-learn keeps. Here the images are lined up by
    class, within a class in their order, and every fifth one, from the first on, is for testing:
    1437 and 360 images, each class in equal proportion (+-1), and no random numbers that another
    version could draw differently.
    """
    import sklearn.datasets  # slow to import

    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    testing = np.zeros(len(labels), bool)
    testing[np.argsort(labels, kind="stable")[::5]] = True
    chosen = {"train": ~testing, "test": testing}[split]
    images = (images[chosen].astype(np.int32) * 255 + 8) // 16  # rounded, in integers
    return images.astype(np.uint8).reshape(-1, 8, 8, 1), labels[chosen].astype(np.int32)


DATASET = Dataset(
    name="digits",
    image_shape=(8, 8, 1),
    classes=tuple("0123456789"),
    mean=(0.3058,),
    std=(0.3761,),
    splits={"train": 1437, "test": 360},
    homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    description="1,797 grey-scale images of handwritten digits, 8x8 pixels: the test part of a larger collection, as scikit-learn ships it.",
    citation="E. Alpaydin, C. Kaynak: Optical recognition of handwritten digits. UCI Machine Learning Repository, 1998.",
    load=load,
)
