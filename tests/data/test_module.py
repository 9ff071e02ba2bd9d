"""The DataModules in a user's own script: a plain LightningModule, and one that mixes."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn

import mixkd
from mixkd import CIFAR10, CIFAR100, CIFAR100C, ImageDataModule, ImageFolder, Mixing
from mixkd.config.data import data_config
from mixkd.data.batches import EvaluationBatch
from mixkd.data.module import Positions
from mixkd.data.sources import READERS
from mixkd.data.splits import load_splits
from mixkd.vicinal import VicinalBatch

SIDE, CLASSES = 8, 4


def arrays(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return images, np.arange(count) % CLASSES


class Plain(LightningModule):
    """A user's module, which knows nothing of mixkd, and keeps what it is given."""

    def __init__(self, inputs: int = 3 * SIDE * SIDE, classes: int = CLASSES) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))
        self.kept: dict[str, list[Any]] = {"train": [], "val": [], "test": []}

    def _loss(self, stage: str, batch: Any) -> Tensor:
        images, labels = batch
        self.kept[stage].append(batch)
        loss = nn.functional.cross_entropy(self.network(images), labels)
        self.log(f"{stage}/loss", loss)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss("train", batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._loss("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._loss("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Mixer(LightningModule):
    """One that mixes, and keeps its batches."""

    def __init__(self, mixing: Mixing | None) -> None:
        super().__init__()
        self.mixing = mixing
        self.weight = nn.Parameter(torch.zeros(()))
        self.batches: list[VicinalBatch] = []
        self.held_out: list[EvaluationBatch] = []

    def training_step(self, batch: VicinalBatch, batch_idx: int) -> Tensor:
        self.batches.append(batch)
        return self.weight * batch.mixed.mean()

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        self.held_out.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(**options: Any) -> Trainer:
    usual = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    more = {"enable_checkpointing": False, "enable_model_summary": False, "max_epochs": 1}
    return Trainer(**(usual | more | options))  # type: ignore[arg-type]


def mixed(data: LightningDataModule, mixing: Mixing | None = None, **options: Any) -> Mixer:
    module = Mixer(Mixing("uniform") if mixing is None else mixing)
    trainer(num_sanity_val_steps=0, **options).fit(module, data)
    return module


def test_a_plain_module_gets_images_and_labels() -> None:
    data = ImageDataModule.of(arrays(80), arrays(20, seed=1), batch_size=16, eval_batch_size=8)
    module, fit = Plain(), trainer(num_sanity_val_steps=0)
    fit.fit(module, data)
    assert [len(labels) for _, labels in module.kept["train"]] == [16] * 4  # of 72
    assert fit.validate(module, data, verbose=False)[0].keys() == {"val/loss"}
    fit.test(module, data, verbose=False)
    images, labels = (torch.cat(part) for part in zip(*module.kept["test"], strict=True))
    expected = torch.from_numpy(arrays(20, seed=1)[0]).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(images, expected)
    assert torch.equal(labels, torch.arange(20) % CLASSES)
    for images, labels in module.kept["train"]:
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert images.shape == (16, 3, SIDE, SIDE)
        assert 0 <= images.min() <= images.max() <= 1


def test_a_module_that_mixes_gets_vicinal_batches() -> None:
    data = ImageDataModule.of(arrays(80), batch_size=16)
    module = mixed(data)
    assert all(isinstance(batch, VicinalBatch) for batch in module.batches)
    assert module.batches[0].lam.unique().numel() == 16
    assert all(isinstance(batch, EvaluationBatch) for batch in module.held_out)
    fixed = mixed(data, Mixing(0.25))
    assert fixed.batches[0].lam.tolist() == [0.25] * 16
    assert torch.equal(module.batches[0].index, fixed.batches[0].index)  # one order for all


def test_the_stream_is_of_the_seed_and_the_stage() -> None:
    def first(seed: int, stage: int = 2) -> list[int]:
        data = ImageDataModule.of(arrays(80), batch_size=16, seed=seed)
        data.stage = stage
        return mixed(data).batches[0].index.tolist()

    assert first(0) == first(0)
    assert first(0) != first(1)
    assert first(0) != first(0, stage=1)


@pytest.mark.parametrize("brought", ["arrays", "tensors", "data set"])
def test_brought_images_are_those_of_the_package(brought: str) -> None:
    cfg = data_config("digits", {}, {"batch_size": 64})
    source = READERS["digits"](cfg)
    assert source.test is not None
    train, test = ((part.pixels, part.labels) for part in (source.train, source.test))  # type: ignore[union-attr]
    if brought == "arrays":
        train, test = ((x.permute(0, 2, 3, 1).numpy(), y.numpy()) for x, y in (train, test))
    if brought == "data set":
        train, test = (torch.utils.data.TensorDataset(*part) for part in (train, test))
    options = {"batch_size": 64, "pad": 2, "flip": False}
    ours = mixed(ImageDataModule(load_splits(cfg), cfg, seed=3))
    theirs = mixed(ImageDataModule.of(train, test, seed=3, **options))
    assert len(ours.batches) == len(theirs.batches) == 18
    for one, other in zip(ours.batches, theirs.batches, strict=True):
        for name in ("mixed", "lam", "label", "partner_label", "index", "partner_index", "row"):
            assert torch.equal(getattr(one, name), getattr(other, name))
    for held, other_held in zip(ours.held_out, theirs.held_out, strict=True):
        assert torch.equal(held.view, other_held.view)


def test_a_folder_serves_from_memory_and_from_disk(image_folder: Path) -> None:
    options: dict[str, Any] = {"size": SIDE, "batch_size": 16, "eval_batch_size": 7}
    labels = []
    for resident in (True, False):
        data = ImageFolder(image_folder, resident=resident, workers=1, **options)
        module = Plain(classes=3)
        fit = trainer(num_sanity_val_steps=0)
        fit.fit(module, data)
        fit.test(module, data, verbose=False)
        assert sum(len(y) for _, y in module.kept["test"]) == 18
        labels.append([y.tolist() for _, y in module.kept["train"]])
        assert data.splits.classes == ("blue", "green", "red")
    assert labels[0] == labels[1]


def test_corrupted_images_are_tested(tmp_path: Path) -> None:
    folder = tmp_path / "CIFAR-100-C"
    folder.mkdir()
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    np.save(folder / "fog.npy", pixels)
    np.save(folder / "labels.npy", np.tile(np.arange(2), 5))
    module = Plain(3 * 32 * 32, 100)
    data = CIFAR100C("fog", 2, tmp_path, download=False)
    trainer().test(module, data, verbose=False)
    ((images, labels),) = module.kept["test"]
    assert (images[:, 0, 0, 0] * 255).round().tolist() == [2, 3]
    assert labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"data.corruption: got frost .* has fog"):
        trainer().test(module, CIFAR100C("frost", 2, tmp_path, download=False), verbose=False)


def test_options_are_those_of_the_section_data() -> None:
    cfg = CIFAR100("somewhere", batch_size=32, download=False).cfg
    assert (cfg.root, cfg.batch_size, cfg.download, cfg.holdout) == ("somewhere", 32, False, 0.1)
    assert CIFAR10(Path("x")).cfg.root == "x"
    with pytest.raises(ValueError, match="batch_size: got 0; takes a whole number, 2 or more"):
        CIFAR10(batch_size=0)
    with pytest.raises(ValueError, match=r"batchsize: no such option \(did you mean batch_size\?"):
        CIFAR10(batchsize=32)
    with pytest.raises(ValueError, match="source: no such option"):
        CIFAR10(source="digits")
    with pytest.raises(ValueError, match="severity: got 6; takes a whole number from 1 to 5"):
        CIFAR100C("fog", 6)
    with pytest.raises(ValueError, match="size: got null"):
        ImageFolder("x", resident=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((np.zeros((4, 8, 8, 2), np.uint8), [0, 1, 0, 1]), r"train: got images \[4, 8, 8, 2\]"),
        ((np.zeros((4, 8, 8, 3), np.uint8), [0, 1]), r"train: got labels torch.int64 \[2\]"),
        ((np.zeros((4, 8, 8, 3), np.uint8), [0.5] * 4), "train: got labels torch.float32"),
        ((np.zeros((4, 8, 8, 3)) - 1, [0, 1, 0, 1]), "train: has pixels from -1 to -1"),
        ((np.zeros((4, 8, 8, 3), np.int64), [0, 1, 0, 1]), "train: has pixels that are"),
        ((np.zeros((4, 8, 8, 3), np.uint8), [0] * 4), "train: train holds 1 class"),
        ((np.array([None]), [0]), "train: takes .images, labels., arrays or tensors"),
        (3, "train: train is int, which has no __len__"),
    ],
)
def test_what_is_no_data_is_said(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageDataModule.of(given).setup("fit")


def test_too_large_a_batch_is_said() -> None:
    with pytest.raises(ValueError, match=r"data.batch_size: got 100; takes at most the 72"):
        mixed(ImageDataModule.of(arrays(80), arrays(8), batch_size=100))


def test_data_are_loaded_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    monkeypatch.setattr("mixkd.data.module.load_splits", loads.append)
    data = CIFAR10("nowhere")
    assert not loads
    data.prepare_data()
    data.setup("fit")
    assert loads == [data.cfg]


def test_copies_serve_the_same() -> None:
    data = ImageDataModule.of(arrays(80), batch_size=16)
    first = mixed(data).batches[0]
    for other in (copy.deepcopy(data), pickle.loads(pickle.dumps(ImageDataModule.of(arrays(80))))):
        assert torch.equal(other.splits.train.index, data.splits.train.index)
    again = mixed(copy.deepcopy(ImageDataModule.of(arrays(80), batch_size=16))).batches[0]
    assert torch.equal(first.mixed, again.mixed)


def test_a_limited_epoch_is_resumed_at_its_beginning(tmp_path: Path) -> None:
    def indices(module: Mixer) -> list[list[int]]:
        return [batch.index.tolist() for batch in module.batches]

    def data() -> ImageDataModule:
        return ImageDataModule.of(arrays(80), arrays(8), batch_size=16)

    whole = mixed(data(), max_epochs=2, limit_train_batches=2)
    fit = trainer(num_sanity_val_steps=0, limit_train_batches=2)
    fit.fit(Mixer(Mixing("uniform")), data())
    fit.save_checkpoint(tmp_path / "half.ckpt")
    resumed = Mixer(Mixing("uniform"))
    more = trainer(num_sanity_val_steps=0, limit_train_batches=2, max_epochs=2)
    more.fit(resumed, data(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert len(indices(whole)) == 4
    assert indices(resumed) == indices(whole)[2:]


def test_lightning_leaves_shares_as_they_are() -> None:
    from torch.utils.data import DistributedSampler

    assert isinstance(Positions(0, lambda k: k), DistributedSampler)  # type: ignore[arg-type, return-value]


def test_they_are_offered_by_name() -> None:
    for name in ("CIFAR10", "CIFAR100", "ImageNet", "ImageFolder", "CIFAR10C", "CIFAR100C"):
        assert issubclass(getattr(mixkd, name), ImageDataModule)
