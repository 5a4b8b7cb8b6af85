"""Images of another size than the data set's: enlarged, or reduced, on the device.

Augmentation comes before, so that its pixels are those of the data set, and what is random stays the
same at every size. Training and evaluation resize alike.
"""

import jax

from resnet_jax.errors import ConfigError


def shape(image_shape: tuple[int, int, int], size: int | None) -> tuple[int, int, int]:
    """The shape [H, W, C] that the network sees; `size` is `data.resize`."""
    return image_shape if size is None else (size, size, image_shape[-1])


def apply(images: jax.Array, size: int | None) -> jax.Array:
    """Resizes float32 [B, H, W, C] to [B, size, size, C], bilinearly; smoothed first where it is reduced."""
    if size is None or images.shape[1:3] == (size, size):
        return images
    return jax.image.resize(images, (len(images), size, size, images.shape[-1]), "bilinear")


def check(size: int | None, stride: int) -> None:
    """Checks that a network whose strides multiply to `stride` has more than padding to look at.

    Raises:
        ConfigError: the images are smaller than that.
    """
    if size is not None and size < stride:
        raise ConfigError(
            f"config.data.resize={size}: the network's strides divide its images by {stride}; "
            f"write at least {stride}, or another config.model.stem"
        )
