"""Random augmentation inside the jitted step: a string of tokens, applied left to right, per image.

Every image is augmented by its own key, folded from (seed, position in the stream), so that neither
batch size nor device count nor a restart changes what it becomes. What the tokens do is in
`geometry`, `colour`, `masks`, `randaugment` and `mixing`.
"""

import itertools
from collections.abc import Sequence

import jax

from resnet_jax import tokens
from resnet_jax.data import colour, geometry, masks
from resnet_jax.data.colour import Colours
from resnet_jax.data.geometry import WARPS
from resnet_jax.data.mixing import MIXES
from resnet_jax.data.randaugment import MAX_MAGNITUDE, randaugment
from resnet_jax.errors import ConfigError
from resnet_jax.tokens import REQUIRED, Argument, Signature, Token, integer, within, word

_PROBABILITY = Argument("probability", within(0, 1), 1.0)

VOCABULARY = {
    "crop": Signature(
        "shift by up to so many pixels each way, filled with the mean colour or mirrored pixels",
        (
            Argument("pixels", integer(1), REQUIRED),
            Argument("padding", word("zero", "reflect"), "zero"),
        ),
    ),
    "flip": Signature("mirror left and right with probability 1/2"),
    "cutout": Signature(
        "fill a square of so many pixels around a random point with the mean colour",
        (Argument("pixels", integer(1), REQUIRED),),
    ),
    "erase": Signature(
        "fill a rectangle, a share of the image between two bounds, with random colours",
        (
            Argument("probability", within(0, 1), 0.5),
            Argument("smallest", within(0, 1), 0.02),
            Argument("largest", within(0, 1), 0.4),
        ),
    ),
    "rotate": Signature(
        "turn by up to so many degrees", (Argument("degrees", within(0, 180), 15.0),)
    ),
    "translate": Signature(
        "shift by up to this share of each side", (Argument("share", within(0, 1), 0.1),)
    ),
    "shear": Signature(
        "slant, by up to this share of a pixel for each pixel across",
        (Argument("share", within(0, 1), 0.1),),
    ),
    "zoom": Signature(
        "enlarge or shrink by up to this share", (Argument("share", within(0, 0.9), 0.2),)
    ),
    "jitter": Signature(
        "change brightness, contrast and saturation by up to this share",
        (Argument("strength", within(0, 1), 0.4),),
    ),
    "randaugment": Signature(
        "so many of fourteen operations, all with one magnitude of 0 to 10",
        (
            Argument("operations", integer(1), REQUIRED),
            Argument("magnitude", within(0, MAX_MAGNITUDE), REQUIRED),
        ),
    ),
    "mixup": Signature(
        "the weighted mean with another image, and of their labels; the weight is Beta(alpha, alpha)",
        (Argument("alpha", within(0.01, 100), REQUIRED), _PROBABILITY),
    ),
    "cutmix": Signature(
        "a rectangle of another image, and its share of the label; the rest is Beta(alpha, alpha)",
        (Argument("alpha", within(0.01, 100), REQUIRED), _PROBABILITY),
    ),
}
"""The tokens of `config.augment`."""

MAX_OPERATIONS = 14
"""Of one `randaugment`: each costs about as much as the first."""


def parse(
    text: str, image_shape: tuple[int, int, int], field: str = "config.augment"
) -> tuple[Token, ...]:
    """Parses `config.augment` for images of `image_shape` (height, width, channels).

    Args:
        text: the string.
        image_shape: (height, width, channels).
        field: what holds `text`, for error messages.

    Raises:
        ConfigError: an unknown token, or one that does not fit the images or the others.
    """
    parsed = tokens.parse(text, VOCABULARY, field)
    side = min(image_shape[:2])
    for token in parsed:
        match token.name, token.arguments:
            case (("crop" | "cutout"), (pixels, *_)) if pixels >= side:
                raise ConfigError(
                    f"{field}: {token} is too large for images of "
                    f"{image_shape[0]}x{image_shape[1]} pixels; write less than {side}"
                )
            case "erase", (_, smallest, largest) if smallest > largest:
                raise ConfigError(
                    f"{field}: {token} erases at least {smallest:g} and at most {largest:g} of "
                    "an image; write the smaller share first"
                )
            case "randaugment", (count, _) if count > MAX_OPERATIONS:
                raise ConfigError(
                    f"{field}: {token} has more than {MAX_OPERATIONS} operations; "
                    "write, say, randaugment(2, 9)"
                )
    span = mixing_span(parsed)
    apart = [str(token) for token in parsed[span] if token.name not in MIXES]
    if apart:
        raise ConfigError(
            f"{field}: {' '.join(apart)} stands between tokens that mix images; write these beside "
            "each other, as in 'mixup(0.2) cutmix(1)', of which each image draws one"
        )
    return parsed


def mixing_span(parsed: Sequence[Token]) -> slice:
    """Where the tokens are that mix images; empty, behind the last token, if there are none."""
    found = [number for number, token in enumerate(parsed) if token.name in MIXES]
    return slice(found[0], found[-1] + 1) if found else slice(len(parsed), len(parsed))


def apply(
    augment: Sequence[Token],
    images: jax.Array,
    keys: jax.Array,
    colours: Colours,
    first: int = 0,
) -> jax.Array:
    """Augments a batch by tokens that do not mix.

    Args:
        augment: parsed tokens.
        images: float32 [B, H, W, C], normalised, so that 0 is the mean colour.
        keys: random keys [B], one per image.
        colours: of the normalisation.
        first: the number of the first token in the string, by which it draws.

    Returns:
        float32 [B, H, W, C].
    """
    numbered = [
        (token, jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number))
        for number, token in enumerate(augment, first)
    ]
    for warps, run in itertools.groupby(numbered, lambda pair: pair[0].name in WARPS):
        if warps:
            together, their_keys = zip(*run, strict=True)
            maps = geometry.random_warp(together, their_keys, images.shape[1:])
            images = geometry.warp(images, maps)
            continue
        for token, own in run:
            images = _apply_one(token, images, own, colours)
    return images


def _apply_one(token: Token, images: jax.Array, keys: jax.Array, colours: Colours) -> jax.Array:
    match token.name, token.arguments:
        case "crop", (pixels, padding):
            return geometry.crop(images, keys, pixels, padding)
        case "flip", _:
            return geometry.flip(images, keys)
        case "cutout", (pixels,):
            return masks.cutout(images, keys, pixels)
        case "erase", (probability, smallest, largest):
            return masks.erase(images, keys, probability, smallest, largest, colours)
        case "jitter", (strength,):
            return colour.jitter(images, keys, strength, colours)
        case "randaugment", (count, magnitude):
            return randaugment(images, keys, count, magnitude, colours)
    raise ValueError(f"{token} is applied to pairs of images")
