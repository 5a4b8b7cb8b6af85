"""Tiny ImageNet at 32x32 pixels: 60,000 images of 200 classes of ImageNet, to pre-train for CIFAR-10.

Made from the archive of Stanford's course CS231n (64x64 pixels, 500 training images a class, 50 for
validation; its test images have no public labels), in this way:

- classes are numbered in the order of their WordNet ids;
- of each class, the first 300 training images in the alphabetical order of their file names
  (`n01443537_0`, `n01443537_1`, `n01443537_10`, ...), which is what the published set of this name has;
- 32x32 pixels by averaging 2x2, stored as JPEG with Pillow's defaults (quality 75).

The split that is evaluated is `validation`, the archive's own, and not to be confused with the images
that `data.validation` holds out of `train`.
"""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from resnet_jax.data.spec import Archive, Dataset
from resnet_jax.errors import DataError

TRAIN_IMAGES = 300
"""Of each class; the archive has 500."""

_ROOT = "tiny-imagenet-200"
_ANNOTATIONS = f"{_ROOT}/val/val_annotations.txt"

_WORDNET_IDS = """
n01443537 n01629819 n01641577 n01644900 n01698640 n01742172 n01768244 n01770393 n01774384
n01774750 n01784675 n01855672 n01882714 n01910747 n01917289 n01944390 n01945685 n01950731
n01983481 n01984695 n02002724 n02056570 n02058221 n02074367 n02085620 n02094433 n02099601
n02099712 n02106662 n02113799 n02123045 n02123394 n02124075 n02125311 n02129165 n02132136
n02165456 n02190166 n02206856 n02226429 n02231487 n02233338 n02236044 n02268443 n02279972
n02281406 n02321529 n02364673 n02395406 n02403003 n02410509 n02415577 n02423022 n02437312
n02480495 n02481823 n02486410 n02504458 n02509815 n02666196 n02669723 n02699494 n02730930
n02769748 n02788148 n02791270 n02793495 n02795169 n02802426 n02808440 n02814533 n02814860
n02815834 n02823428 n02837789 n02841315 n02843684 n02883205 n02892201 n02906734 n02909870
n02917067 n02927161 n02948072 n02950826 n02963159 n02977058 n02988304 n02999410 n03014705
n03026506 n03042490 n03085013 n03089624 n03100240 n03126707 n03160309 n03179701 n03201208
n03250847 n03255030 n03355925 n03388043 n03393912 n03400231 n03404251 n03424325 n03444034
n03447447 n03544143 n03584254 n03599486 n03617480 n03637318 n03649909 n03662601 n03670208
n03706229 n03733131 n03763968 n03770439 n03796401 n03804744 n03814639 n03837869 n03838899
n03854065 n03891332 n03902125 n03930313 n03937543 n03970156 n03976657 n03977966 n03980874
n03983396 n03992509 n04008634 n04023962 n04067472 n04070727 n04074963 n04099969 n04118538
n04133789 n04146614 n04149813 n04179913 n04251144 n04254777 n04259630 n04265275 n04275548
n04285008 n04311004 n04328186 n04356056 n04366367 n04371430 n04376876 n04398044 n04399382
n04417672 n04456115 n04465501 n04486054 n04487081 n04501370 n04507155 n04532106 n04532670
n04540053 n04560804 n04562935 n04596742 n04597913 n06596364 n07579787 n07583066 n07614500
n07615774 n07695742 n07711569 n07715103 n07720875 n07734744 n07747607 n07749582 n07753592
n07768694 n07871810 n07873807 n07875152 n07920052 n09193705 n09246464 n09256479 n09332890
n09428293 n12267677
"""

_CLASSES = tuple(_WORDNET_IDS.split())


def read_archive(path: Path) -> Iterator[tuple[str, str, np.ndarray, int]]:
    """Reads the archive; see `Archive.examples`.

    Raises:
        DataError: it lacks a class, images or annotations, or an image cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            for label, name in enumerate(_CLASSES):
                folder = f"{_ROOT}/train/{name}/images/"
                files = sorted(n for n in names if n.startswith(folder) and n.endswith(".JPEG"))
                if len(files) < TRAIN_IMAGES:
                    raise DataError(
                        f"{path} has {len(files)} images in {folder}, expected at least {TRAIN_IMAGES}: "
                        "it is not the whole Tiny ImageNet"
                    )
                for file in files[:TRAIN_IMAGES]:
                    yield "train", Path(file).stem, _image(archive, file), label
            for file, label in _annotations(archive, names, path):
                member = f"{_ROOT}/val/images/{file}"
                if member not in names:
                    raise DataError(f"{path} has no {member}, which {_ANNOTATIONS} names")
                yield "validation", Path(file).stem, _image(archive, member), label
    except zipfile.BadZipFile as error:  # of the file, or of a member's checksum
        raise DataError(
            f"{path} is damaged, or no ZIP archive ({error})\nget {DATASET.archive.url} again"
        ) from error


def _annotations(
    archive: zipfile.ZipFile, names: set[str], path: Path
) -> Iterator[tuple[str, int]]:
    """File and label of every validation image; a line is file, WordNet id, and a box."""
    if _ANNOTATIONS not in names:
        raise DataError(f"{path} has no {_ANNOTATIONS}: it is not Tiny ImageNet")
    labels = {name: label for label, name in enumerate(_CLASSES)}
    for number, line in enumerate(archive.read(_ANNOTATIONS).decode().splitlines(), 1):
        file, name, *_ = [*line.split("\t"), "", ""]
        if name not in labels:
            raise DataError(f"{path}: {_ANNOTATIONS}, line {number} names no class: {line[:60]!r}")
        yield file, labels[name]


def _image(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    """uint8 [32, 32, 3]; grey images become colour."""
    image = Image.open(io.BytesIO(archive.read(member))).convert("RGB")
    return np.asarray(image.resize((32, 32), Image.Resampling.BOX))


DATASET = Dataset(
    name="tiny_imagenet32",
    version="1.0.0",
    image_shape=(32, 32, 3),
    classes=_CLASSES,
    # As in tests/data/datasets/test_tiny_imagenet32.py, from the histogram of the training images.
    mean=(0.4801, 0.4486, 0.3984),
    std=(0.2524, 0.2450, 0.2591),
    splits={"train": 60_000, "validation": 10_000},
    test_split="validation",
    homepage="https://cs231n.stanford.edu",
    description="Tiny ImageNet (200 classes of ImageNet) at 32x32 pixels: 60,000 training images, 300 a class, and 10,000 for validation. For pre-training at the size of CIFAR-10.",
    citation="Ya Le, Xuan Yang: Tiny ImageNet visual recognition challenge. CS 231N, 2015. Olga Russakovsky et al.: ImageNet large scale visual recognition challenge. IJCV 115, 2015.",
    archive=Archive(
        url="https://cs231n.stanford.edu/tiny-imagenet-200.zip",
        sha256="6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
        size=248_100_043,
        examples=read_archive,
        encoding="jpeg",
        keys="id",
    ),
)
