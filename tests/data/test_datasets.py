"""Any torch Dataset of (image, label), arrays, and what the command line makes of a factory."""

import io
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset

from mixkd.config.data import DataConfig
from mixkd.data.splits import Splits, load_splits
from mixkd.errors import UserError
from mixkd.request import request

MODULE = "tests.data.test_datasets"
SIDE, CLASSES = 8, 4


def pixels(count: int, seed: int = 0, side: int = SIDE, channels: int = 3) -> np.ndarray:
    shape = (count, side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


def as_float(image: np.ndarray) -> Tensor:
    return as_tensor(image).float() / 255


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "PIL": Image.fromarray,
    "tensor": as_tensor,
    "float": as_float,
    "float array": lambda image: image.astype(np.float64) / 255,
    "array": np.asarray,
}


class Pictures(Dataset[Any]):
    """A data set as a user writes one; `lowest` is its first label."""

    def __init__(
        self, count: int = 80, seed: int = 0, form: str = "array", lowest: int = 0, side: int = SIDE
    ) -> None:
        self.images, self.form = pixels(count, seed, side), FORMS[form]
        self.labels = np.arange(count) % CLASSES + lowest

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        return self.form(self.images[row]), self.labels[row]


class Torchvision(Pictures):
    """In the form of CIFAR10."""

    classes = ("ant", "bee", "cat", "dog")

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        super().__init__(80 if train else 12, seed=int(train), form="PIL")
        assert root == "here"
        assert download


class BySplit(Pictures):
    """In the form of SVHN, but for the name of the test."""

    def __init__(self, root: str = "", split: str = "train") -> None:
        if split not in ("train", "val"):
            raise ValueError(f"Unknown split {split}")
        super().__init__(80 if split == "train" else 12, seed=len(split))


def pair(count: int = 80) -> tuple[Pictures, Pictures]:
    return Pictures(count), Pictures(12, seed=1)


def mapping() -> dict[str, Pictures]:
    return {"train": Pictures(), "val": Pictures(8, seed=2), "test": Pictures(12, seed=1)}


def data(factory: str = "Pictures", *overrides: str) -> DataConfig:
    given = f"data.factory={MODULE}.{factory}"
    return request("finetune", ["network=resnet20", given, *overrides]).data


def sizes(splits: Splits) -> list[int]:
    return [len(splits[name]) for name in ("train", "val", "test")]


@pytest.mark.parametrize("form", FORMS)
def test_images_of_every_form_are_the_same_bytes(form: str) -> None:
    splits = load_splits(data("pair", "data.selection=test")) if form == "array" else None
    splits = splits or load_splits(data("Pictures", f"data.args.form={form}"))
    train = splits.train
    expected = torch.from_numpy(pixels(80)).permute(0, 3, 1, 2)
    assert torch.equal(train.pixels, expected[train.index])  # type: ignore[union-attr]
    assert torch.equal(train.labels, train.index % CLASSES)


def test_grey_images_become_three_channels() -> None:
    from mixkd.data.datasets import pixels_of

    grey = pixels(1, channels=1)[0]
    expected = torch.from_numpy(grey[..., 0]).expand(3, -1, -1)
    deep = Image.fromarray((grey[..., 0].astype(np.uint16)) * 257)
    assert deep.mode.startswith("I")
    for image in (grey, grey[..., 0], as_tensor(grey), Image.fromarray(grey[..., 0]), deep):
        assert torch.equal(pixels_of(image), expected)


def test_one_data_set_is_split_and_a_quarter_is_the_test() -> None:
    splits = load_splits(data())
    assert sizes(splits) == [54, 6, 20]
    assert splits.classes == ("0", "1", "2", "3")
    indices = torch.cat([splits[name].index for name in ("train", "val", "test")])
    assert sorted(indices.tolist()) == list(range(80))
    again = load_splits(data("Pictures", "data.split_seed=1"))
    assert torch.equal(splits.test.index, again.test.index)
    assert not torch.equal(splits.val.index, again.val.index)


def test_factories_are_called_as_their_signatures_ask() -> None:
    by_train = load_splits(data("Torchvision", "data.root=here", "data.download=true"))
    assert sizes(by_train) == [72, 8, 12]
    assert by_train.classes == Torchvision.classes
    by_split = load_splits(data("BySplit"))
    assert sizes(by_split) == [72, 8, 12]  # `val` reports, as there is no `test`
    assert sizes(load_splits(data("pair", "data.args.count=160"))) == [144, 16, 12]
    assert sizes(load_splits(data("mapping"))) == [80, 8, 12]
    assert sizes(load_splits(data("BySplit", "data.args.split=train"))) == [54, 6, 20]


def test_a_stream_is_read_in_its_order() -> None:
    stream, whole = load_splits(data("Stream")), load_splits(data())
    assert stream.fingerprints == whole.fingerprints


def test_limits_fingerprints_and_marks_are_those_of_every_data_set() -> None:
    whole, same = load_splits(data()), load_splits(data("Pictures", "data.args.form=PIL"))
    other = load_splits(data("Pictures", "data.args.seed=1"))
    assert whole.fingerprints == same.fingerprints != other.fingerprints
    limited = load_splits(data("Pictures", "data.limit_train=12", "data.limit_test=8"))
    assert sizes(limited) == [12, 6, 8]
    assert np.isin(limited.marks("train"), whole.marks("train")).all()


def test_names_count_the_factory_its_arguments_and_its_root() -> None:
    from mixkd.runs.identity import experiment_hash

    def name(*overrides: str) -> str:
        given = ["network=resnet20", f"data.factory={MODULE}.Pictures", *overrides]
        return experiment_hash(request("finetune", given))

    names = [name(), name("data.args.seed=1"), name("data.root=a"), name("data.root=b")]
    names.append(name(f"data.factory={MODULE}.pair"))
    assert len(set(names)) == len(names)
    assert name("data.workers=3") == name()
    assert data("Pictures").name == "Pictures"
    assert data("Pictures", "data.name=mine").name == "mine"


def test_images_read_by_position_are_those_in_memory() -> None:
    keys = ["data.args.side=12", "data.size=8"]
    disk = load_splits(data("Pictures", *keys, "data.resident=false", "data.workers=2"))
    memory = load_splits(data("Pictures", *keys))
    for split in ("train", "val", "test"):
        assert torch.equal(disk[split].index, memory[split].index)
        rows = np.arange(len(disk[split]))
        assert torch.equal(disk[split].read(rows), memory[split].pixels)  # type: ignore[union-attr]
    other = load_splits(
        data("Pictures", *keys, "data.resident=false", "data.workers=0", "data.args.seed=1")
    )
    assert disk.fingerprints != other.fingerprints
    assert disk.fingerprints.keys() == {"data_files"}


class Bad(Pictures):
    """What is wrong with it is its kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind == "negative":
            self.labels = self.labels - 1
        if kind == "unnamed class":
            self.classes = ["ant", "bee"]

    def __getitem__(self, row: int) -> Any:
        image, label = super().__getitem__(row)
        match self.kind:
            case "one":
                return image
            case "mapping":
                return {"image": image, "label": label}
            case "path":
                return "a.png", label
            case "float label":
                return image, 0.5
            case "one-hot":
                return image, torch.eye(CLASSES)[label]
            case "normalised":
                return image / 127.5 - 1, label
            case "integers":
                return image.astype(np.int64), label
            case "flat":
                return torch.from_numpy(image).flatten(), label
            case "sizes":
                return image[: SIDE - row % 2], label
            case "random":
                return torch.rand(3, SIDE, SIDE), label
            case "broken" if row == 5:
                raise KeyError("no such picture")
        return image, label


class Endless(IterableDataset[Any]):
    """A stream without a length."""

    def __iter__(self) -> Iterator[Any]:
        yield from Pictures()


class Stream(Endless):
    """A stream that ends, as timm's are of TensorFlow's data sets."""

    def __init__(self, count: int = 80) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


def no_test() -> dict[str, Any]:
    return {"training": Pictures()}


def four() -> tuple[Any, ...]:
    return (Pictures(),) * 4


def nothing() -> None:
    return None


def empty() -> list[Any]:
    return []


def from_one() -> Pictures:
    return Pictures(lowest=1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["Bad"], "data.args: .*Bad needs kind"),
        (["Bad", "data.args.knd=one"], r"data.args.knd: .*did you mean kind\?"),
        (["Baad"], r"data.factory: .*did you mean Bad\?"),
        (["Endless"], "data.factory: train is Endless, which has no __len__"),
        (["Stream", "data.args.count=79"], "data.factory: train gives 80 items, and its length"),
        (
            ["Stream", "data.resident=false", "data.size=8"],
            "data.resident: got false; train cannot",
        ),
        (["nothing"], "data.factory: train is NoneType, which has no __len__"),
        (["empty"], "data.factory: train holds no images"),
        (["no_test"], "data.factory: gives training; takes train, test and val"),
        (["four"], "data.factory: gives 4 data sets"),
        (["from_one"], "data.factory: labels of train are 1, 2, 3, 4; takes 0 to 3, of 4 classes"),
    ],
)
def test_what_makes_no_data_set_is_said(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_splits(data(*overrides))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("one", r"data.factory: item 0 of train is ndarray; takes \(image, label\)"),
        ("mapping", r"data.factory: item 0 of train is dict; takes \(image, label\)"),
        ("path", "data.factory: item 0 of train has an image that is str; takes a PIL image"),
        ("float label", "data.factory: item 0 of train has the label 0.5; takes a whole number"),
        ("one-hot", "data.factory: item 0 of train has the label .*; takes a whole number"),
        ("negative", "data.factory: labels of train are -1, 0, 1, 2; takes 0 to 3"),
        ("unnamed class", "data.factory: labels of train go from 0 to 3; takes 0 to 1"),
        ("normalised", r"has pixels from -1 to 0.953; takes uint8, or floats in \[0, 1\]"),
        ("integers", "has pixels that are torch.int64; takes uint8"),
        ("flat", r"has an image of shape \[192\]"),
        ("sizes", "data.size: images of train have several sizes, such as 8x8 and 8x7"),
        ("random", "data.factory: item 0 of train is another image each time"),
        ("broken", "data.factory: item 5 of train cannot be read: KeyError: 'no such picture'"),
    ],
)
def test_what_is_no_labelled_image_is_said(kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_splits(data("Bad", f"data.args.kind={kind}"))


def test_images_of_several_sizes_are_fitted_to_one() -> None:
    splits = load_splits(data("Bad", "data.args.kind=sizes", "data.size=8"))
    assert splits.train.stored == (8, 8)


def test_what_does_not_go_together_is_said() -> None:
    def refused(*overrides: str) -> str:
        with pytest.raises(UserError) as error:
            request("finetune", ["network=resnet20", *overrides])
        return str(error.value)

    assert "data.factory: got null; takes a dotted path" in refused("data=_own")
    assert "data.dataset: got null; takes torch/NAME" in refused("data=timm")
    assert "data.dataset: got 'svhn'" in refused("data=timm", "data.dataset=svhn")
    assert "it is of data=own" in refused("data=digits", "data.factory=a.b")
    assert "data.args: got some with data=digits" in refused("data.args.n=1")
    assert "data.size: got null" in refused("data.factory=a.b", "data.resident=false")


def timm(name: str, *overrides: str) -> DataConfig:
    given = ["network=resnet20", "data=timm", f"data.dataset={name}", *overrides]
    return request("finetune", given).data


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an array in the form of MNIST's files."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.tobytes())


def test_torchvision_data_sets_go_by_timms_names(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    for name, count in (("train", 40), ("t10k", 20)):
        write_idx(raw / f"{name}-images-idx3-ubyte", pixels(count, channels=1)[..., 0])
        write_idx(raw / f"{name}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    splits = load_splits(timm("torch/fashion_mnist", f"data.root={tmp_path}", "data.holdout=0.25"))
    assert sizes(splits) == [30, 10, 20]
    assert splits.classes[:2] == ("T-shirt/top", "Trouser")
    assert timm("torch/fashion_mnist").name == "torch_fashion_mnist"


def test_a_folder_is_read_by_timms_way(image_folder: Path) -> None:
    (image_folder / "test").rename(image_folder / "val")
    splits = load_splits(timm("torch/image_folder", f"data.root={image_folder}"))
    assert sizes(splits) == [54, 6, 18]
    assert splits.classes == ("blue", "green", "red")


def test_what_timm_cannot_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"torchvision has no such data set \(did you mean svhn\?"):
        load_splits(timm("torch/svnh"))
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    monkeypatch.setattr(sys, "path", [str(Path.cwd())])
    Path("datasets").mkdir()  # where data are kept
    with pytest.raises(UserError, match=r"data.dataset: got 'hfds/a', .*`pip install datasets`"):
        load_splits(timm("hfds/a"))


class HubData:
    """In the form of a data set of Hugging Face's, as far as timm asks for it."""

    info = SimpleNamespace(
        features={"label": SimpleNamespace(names=["ant", "bee", "cat", "dog"])}, splits=None
    )

    def __init__(self, count: int) -> None:
        self.rows = []
        for image, label in zip(pixels(count), np.arange(count) % CLASSES, strict=True):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            self.rows.append({"image": {"bytes": file.getvalue()}, "label": int(label)})

    def cast_column(self, *_: Any) -> "HubData":
        return self

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.rows[row]


def test_data_sets_of_the_hub_are_read_by_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, split: str, cache_dir: str) -> HubData:
        asked.append((name, split, cache_dir))
        if split == "test":
            raise ValueError('Unknown split "test". Should be one of [train, validation].')
        return HubData(80 if split == "train" else 12)

    package: Any = ModuleType("datasets")
    package.__spec__ = ModuleSpec("datasets", None, origin="here")
    package.load_dataset, package.Image = load_dataset, lambda decode: None
    monkeypatch.setitem(sys.modules, "datasets", package)
    monkeypatch.delitem(sys.modules, "timm.data.readers.reader_hfds", raising=False)
    splits = load_splits(timm("hfds/somebody/pets", "data.root=kept"))
    assert sizes(splits) == [72, 8, 12]
    assert splits.classes == Torchvision.classes
    assert {(name, root) for name, _, root in asked} == {("somebody/pets", "kept")}
    expected = torch.from_numpy(pixels(80)).permute(0, 3, 1, 2)
    assert torch.equal(splits.train.pixels, expected[splits.train.index])  # type: ignore[union-attr]


def test_a_part_of_a_data_set_has_its_names() -> None:
    from mixkd.data.datasets import class_names

    whole = Torchvision("here", download=True)
    assert class_names(Subset(whole, [1, 2])) == Torchvision.classes
    assert class_names(Pictures()) == ()
    whole.classes = ("crane", "crane", "a", "b")
    assert class_names(whole) == ()
