"""What is known of each data set before it is read. All that asks for it is derived from here.

A new data set is an entry here, a function in mixkd/data/sources.py that reads it, and a file in
conf/data/.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

# Class names in label order.
CIFAR10 = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())

CIFAR100 = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
    plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)


class Size(NamedTuple):
    """How many images and classes there are, and the side of an image in pixels."""

    train: int
    test: int
    classes: int
    side: int


class Arrays(NamedTuple):
    """Corrupted images as published: an archive, its md5, the folder in it, and the classes."""

    url: str
    md5: str
    folder: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class DataSource:
    """A data set, or one that anybody brings: then its size is not known.

    `splits` are the folders of its root that hold images, a folder for each class; what else lies
    there is no data. By such a folder `archives` name the file that is unpacked to it where it is
    not there. Of corrupted test images `corrupts` names the data set that they are of, and `arrays`
    say where they are published, unless they are files too. Of a torch `Dataset` that is brought,
    `given_by` is the key that says which.
    """

    size: Size | None = None
    has_root: bool = True
    splits: tuple[str, ...] = ()
    archives: Mapping[str, str] = field(default_factory=dict)
    corrupts: str = ""
    arrays: Arrays | None = None
    given_by: str = ""

    @property
    def is_files(self) -> bool:
        """Whether every image is a file, which may stay on disk."""
        return bool(self.splits) or (self.corrupts != "" and self.arrays is None)


SOURCES = {
    "digits": DataSource(Size(1347, 450, 10, 32), has_root=False),
    "cifar10": DataSource(Size(50_000, 10_000, len(CIFAR10), 32)),
    "cifar100": DataSource(Size(50_000, 10_000, len(CIFAR100), 32)),
    "imagefolder": DataSource(splits=("train", "val", "test")),
    "imagenet": DataSource(
        Size(1_281_167, 50_000, 1000, 224),
        splits=("train", "val"),
        archives={"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"},
    ),
    "cifar10_c": DataSource(
        corrupts="cifar10",
        arrays=Arrays(
            "https://zenodo.org/records/2535967/files/CIFAR-10-C.tar",
            "56bf5dcef84df0e2308c6dcbcbbd8499",
            "CIFAR-10-C",
            CIFAR10,
        ),
    ),
    "cifar100_c": DataSource(
        corrupts="cifar100",
        arrays=Arrays(
            "https://zenodo.org/records/3555552/files/CIFAR-100-C.tar",
            "11f0ed0f1191edbf9fa23466ae6021d3",
            "CIFAR-100-C",
            CIFAR100,
        ),
    ),
    "imagenet_c": DataSource(corrupts="imagenet"),
    "own": DataSource(given_by="factory"),
    "timm": DataSource(given_by="dataset"),
}

CORRUPTED = tuple(name for name, source in SOURCES.items() if source.corrupts)
FILES = tuple(name for name, source in SOURCES.items() if source.is_files)
GIVEN_BY = {name: source.given_by for name, source in SOURCES.items() if source.given_by}
SIZES = {name: source.size for name, source in SOURCES.items() if source.size is not None}
SPLITS = {name: source.splits for name, source in SOURCES.items() if source.splits}

if TYPE_CHECKING:  # which cannot read them from a table
    CleanName = str
    CorruptedName = str
else:
    CleanName = Literal[*(name for name in SOURCES if name not in CORRUPTED)]
    CorruptedName = Literal[CORRUPTED]
