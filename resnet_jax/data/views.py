"""Test-time augmentation: fixed views of an image, over which an evaluation averages probabilities.

Every image still counts once. Views are not random, so that a result can be repeated.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp

from resnet_jax import tokens
from resnet_jax.errors import ConfigError
from resnet_jax.tokens import Argument, Signature, Token, integer, word

FIELD = "config.eval_augment"

VOCABULARY = {
    "flip": Signature("the image and its mirror image"),
    "crops": Signature(
        "the image and its shifts by so many pixels: to 4 corners (5), or to all 8 sides (9)",
        (Argument("count", word("5", "9"), "5"), Argument("pixels", integer(1), 2)),
    ),
}
"""The tokens of `config.eval_augment`."""


@dataclasses.dataclass(frozen=True)
class Views:
    """The views of an image: every mirror image of every shift.

    Attributes:
        text: as in the config.
        flips: whether each view is also mirrored left and right.
        shifts: down and to the right, pixels; what comes in is the mean colour. The first is none.
    """

    text: str = ""
    flips: tuple[bool, ...] = (False,)
    shifts: tuple[tuple[int, int], ...] = ((0, 0),)

    def __len__(self) -> int:
        return len(self.flips) * len(self.shifts)

    def of(self, images: jax.Array) -> jax.Array:
        """All views, float32 [B * views, H, W, C] of [B, H, W, C]; those of an image are neighbours."""
        if len(self) == 1:
            return images
        margin = max(abs(shift) for pair in self.shifts for shift in pair)
        height, width = images.shape[1:3]
        padded = jnp.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        views = []
        for flip, (down, right) in itertools.product(self.flips, self.shifts):
            top, left = margin - down, margin - right
            view = padded[:, top : top + height, left : left + width]
            views.append(view[:, :, ::-1] if flip else view)
        return jnp.stack(views, 1).reshape(-1, *images.shape[1:])

    def merge(self, logits: jax.Array) -> jax.Array:
        """The logarithms of the mean probabilities, [B, classes], of logits [B * views, classes].

        With one view the logits as they are, of which probabilities and loss are the same.
        """
        if len(self) == 1:
            return logits
        each = jax.nn.log_softmax(logits.reshape(-1, len(self), logits.shape[-1]))
        return jax.nn.logsumexp(each, axis=1) - jnp.log(float(len(self)))


def parse(text: str, image_shape: tuple[int, int, int], field: str = FIELD) -> Views:
    """Parses `config.eval_augment` for images of `image_shape` (height, width, channels).

    Args:
        text: the string.
        image_shape: (height, width, channels).
        field: what holds `text`, for error messages.

    Raises:
        ConfigError: an unknown token, one that is repeated, or a shift as large as the images.
    """
    parsed = tokens.parse(text, VOCABULARY, field)
    names = [token.name for token in parsed]
    if len(set(names)) < len(names):
        raise ConfigError(f"{field}={text!r}: write each token once, as in 'flip crops(5)'")
    flips, shifts = (False,), ((0, 0),)
    for token in parsed:
        if token.name == "flip":
            flips = (False, True)
        else:
            shifts = _shifts(token, image_shape, field)
    return Views(text, flips, shifts)


def _shifts(
    token: Token, image_shape: tuple[int, int, int], field: str
) -> tuple[tuple[int, int], ...]:
    count, pixels = token.arguments
    side = min(image_shape[:2])
    if pixels >= side:
        raise ConfigError(
            f"{field}: {token} shifts images of {image_shape[0]}x{image_shape[1]} pixels out of "
            f"sight; write less than {side}"
        )
    corners = tuple(itertools.product((-pixels, pixels), repeat=2))
    sides = ((-pixels, 0), (pixels, 0), (0, -pixels), (0, pixels))
    return ((0, 0), *corners, *(sides if count == "9" else ()))
