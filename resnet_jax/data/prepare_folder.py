"""A directory of a user's images as a TFDS directory and the few lines that describe it."""

import dataclasses
import pprint
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resnet_jax.data import folder, prepare, spec
from resnet_jax.data.listing import scan
from resnet_jax.data.spec import Archive, Dataset
from resnet_jax.errors import ConfigError, DataError

VERSION = "1.0.0"


def check_name(name: str) -> None:
    """Checks what the prepared data set is to be called.

    Raises:
        ConfigError: it is no name of a module, or taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(
            f"--name {name}: expected lower-case letters, digits and _, such as my_flowers"
        )
    if name in (*spec.names(), spec.FOLDER, spec.NONE):
        raise ConfigError(f"--name {name} is taken by another data set; choose another name")


def prepare_folder(
    root: Path, name: str, data_dir: Path, choices: folder.Choices
) -> tuple[Path, Dataset, bool]:
    """Writes `data_dir/<name>/1.0.0` from `root`, unless it is there.

    Args:
        root: contains train/CLASS/*.png or *.jpg.
        name: of the data set.
        data_dir: the TFDS data directory; made if it does not exist.
        choices: size of the images, and what may be broken.

    Returns:
        the directory, the data set in it, and whether it was there already.

    Raises:
        ConfigError: see `check_name`.
        DataError: see `folder.dataset` and `prepare.write`; or another data set of that name is there.
    """
    check_name(name)
    found = folder.described(scan(root, choices.test_fraction), choices)
    for note in found.notes:
        print(f"note      {note}", file=sys.stderr)

    def examples(_: Path) -> Iterator[tuple[str, str, np.ndarray, int]]:
        for split in found.splits:
            images, labels = found.load(split)
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield split, f"{split}_{number:06d}", image, int(label)

    dataset = dataclasses.replace(
        found,
        name=name,
        version=VERSION,
        description=f"Images of {root.name}, in squares of {choices.image_size} pixels.",
        archive=Archive(url=root.as_uri(), sha256="", size=0, examples=examples),
        load=None,
        left_out=(),
        notes=(),
    )
    try:
        already = prepare.is_prepared(dataset, data_dir)
    except DataError as error:
        raise DataError(
            f"{data_dir / name / VERSION} is there and is not what {root} would become now;\n"
            "remove it, or choose another --name"
        ) from error
    if not already:
        prepare.write(dataset, data_dir, lambda: root)
    return data_dir / name / VERSION, dataset, already


def spec_text(dataset: Dataset) -> str:
    """The file `resnet_jax/data/datasets/<name>.py` that describes a prepared data set."""
    fields = ("name", "version", "image_shape", "classes", "mean", "std", "splits")
    lines = []
    for field in fields:
        value = getattr(dataset, field)
        value = dict(value) if field == "splits" else value
        text = pprint.pformat(value, width=88, compact=True, sort_dicts=False)
        lines.append(f"    {field}={text},".replace("\n", "\n    "))
    return "\n".join(
        [
            f'"""{dataset.description}"""',
            "",
            "from resnet_jax.data.spec import Dataset",
            "",
            "DATASET = Dataset(",
            *lines,
            ")",
            "",
        ]
    )
