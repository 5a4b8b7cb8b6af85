"""What a pixel becomes: brightness, contrast, saturation, and the other operations on colours.

Colours are what they are in a file, 0 to 255, as float32. Grey, blending and the operations of
RandAugment follow Pillow's, which is what the papers used.
"""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Colours:
    """Between normalised images and colours of 0 to 255.

    Attributes:
        mean, std: per channel, of images scaled to 0..1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalised(self, colours: jax.Array) -> jax.Array:
        """From 0..255, [..., C], to mean 0 and standard deviation 1 per channel, as float32."""
        scale = jnp.asarray([1 / (255 * s) for s in self.std], jnp.float32)
        shift = jnp.asarray([m / s for m, s in zip(self.mean, self.std, strict=True)], jnp.float32)
        return colours.astype(jnp.float32) * scale - shift

    def of(self, images: jax.Array) -> jax.Array:
        """The inverse of `normalised`: what normalisation was given, to about 1e-5."""
        return images * jnp.asarray([255 * s for s in self.std], jnp.float32) + self.fill()

    def fill(self) -> jax.Array:
        """The mean colour, float32 [C] of 0..255."""
        return jnp.asarray([255 * m for m in self.mean], jnp.float32)


def jitter(images: jax.Array, keys: jax.Array, strength: float, colours: Colours) -> jax.Array:
    """Changes brightness, contrast and saturation by factors from 1 - strength to 1 + strength."""
    factors = jax.vmap(
        lambda key: jax.random.uniform(key, (3,), minval=1 - strength, maxval=1 + strength)
    )(keys)
    brightness, contrast, saturation = (factors[:, i, None, None, None] for i in range(3))
    pixels = jnp.clip(colours.of(images) * brightness, 0, 255)
    pixels = jnp.clip(blend(mean_grey(grey(pixels)), pixels, contrast), 0, 255)
    pixels = jnp.clip(blend(grey(pixels), pixels, saturation), 0, 255)
    return colours.normalised(pixels)


def blend(base: jax.Array, pixels: jax.Array, factor: jax.Array) -> jax.Array:
    """`base` at factor 0, `pixels` at 1, and beyond them above 1; not clipped."""
    return base + factor * (pixels - base)


def grey(pixels: jax.Array) -> jax.Array:
    """The luma of ITU-R 601-2, in whole numbers as Pillow has it: [B, H, W, C] -> [B, H, W, 1]."""
    if pixels.shape[-1] != 3:
        return jnp.round(pixels[..., :1])
    weights = [19595 / 65536, 38470 / 65536, 7471 / 65536]
    red, green, blue = (pixels[..., i, None] * weight for i, weight in enumerate(weights))
    return jnp.floor(red + green + blue + 0.5)


def mean_grey(greys: jax.Array) -> jax.Array:
    """The mean of whole numbers, [B, H, W, 1] -> [B, 1, 1, 1], a whole number itself."""
    # Summed as integers: the order of the sum, which devices choose, then does not matter.
    total = greys.astype(jnp.int32).sum((1, 2, 3), keepdims=True)
    return jnp.floor(total.astype(jnp.float32) / (greys.shape[1] * greys.shape[2]) + 0.5)


def smooth(pixels: jax.Array) -> jax.Array:
    """Pillow's SMOOTH: a 3x3 mean in which the centre weighs five; the edge stays as it is."""
    rows = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * pixels[:, 1:-1, 1:-1]
    return jax.lax.dynamic_update_slice(pixels, jnp.round(total / 13), (0, 1, 1, 0))


def auto_contrast(pixels: jax.Array) -> jax.Array:
    """Stretches each channel to 0..255; whole numbers, [B, H, W, C]."""
    low, high = pixels.min((1, 2), keepdims=True), pixels.max((1, 2), keepdims=True)
    stretched = jnp.floor((pixels - low) * (255 / jnp.maximum(high - low, 1)) + 1e-3)
    return jnp.where(high > low, stretched, pixels)


def equalize(pixels: jax.Array) -> jax.Array:
    """Spreads each channel's values so that they are about equally frequent; whole numbers."""

    def channel(values: jax.Array) -> jax.Array:
        """int32 [H*W] of 0..255."""
        counts = jnp.zeros(256, jnp.int32).at[values].add(1)
        step = (values.size - counts[values.max()]) // 255
        below = jnp.cumsum(counts) - counts
        table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
        return jnp.where(step > 0, table[values], values)

    batch, height, width, channels = pixels.shape
    values = jnp.clip(pixels, 0, 255).astype(jnp.int32).reshape(batch, height * width, channels)
    found = jax.vmap(jax.vmap(channel, in_axes=1, out_axes=1))(values)
    return found.reshape(pixels.shape).astype(pixels.dtype)
