"""ImageNet as folders and as archives, and any folder whose images stay on disk."""

import hashlib
import io
import shutil
import tarfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import imagenet as devkit
from torchvision.transforms import functional

from mixkd.config.tasks import EvaluateConfig, FinetuneConfig
from mixkd.data.batches import make_stream, make_views
from mixkd.data.decode import decode
from mixkd.data.images import Images, StoredImages
from mixkd.data.module import Fetched, ImageDataModule, Range, Step
from mixkd.data.splits import Splits, load_splits
from mixkd.errors import UserError
from mixkd.request import accept, compose, request

Write = Callable[[Path], Path]
Progress = namedtuple("Progress", "processed")
WNIDS = ("n01440764", "n01443537", "n01484850")
OVERRIDES = ["data=imagenet", "data.size=32", "data.resize=36", "data.holdout=0.25",
         "data.batch_size=8", "data.eval_batch_size=4", "method=mixup"]  # fmt: skip


def finetune(root: Path, *overrides: str) -> FinetuneConfig:
    cfg = request("finetune", ["network=resnet20", *OVERRIDES, f"data.root='{root}'", *overrides])
    assert isinstance(cfg, FinetuneConfig)
    return cfg


@pytest.fixture
def root(tmp_path: Path, write_imagenet: Write) -> Path:
    return write_imagenet(tmp_path / "imagenet")


def data_module(cfg: FinetuneConfig, world_size: int = 1, rank: int = 0) -> ImageDataModule:
    splits = load_splits(cfg.data)
    stream = make_stream(cfg.data, splits, cfg.method.mix, 0, devices=world_size)
    data = ImageDataModule(splits, cfg.data, stream, parts=cfg.trainer.accumulate)

    class Trainer:
        global_rank = rank
        lightning_module = SimpleNamespace(mixing=None)
        fit_loop = SimpleNamespace(
            epoch_progress=SimpleNamespace(current=Progress(1)),
            epoch_loop=SimpleNamespace(
                batch_progress=SimpleNamespace(current=Progress(0), is_last_batch=False)
            ),
        )

        class strategy:
            root_device = torch.device("cpu")

    Trainer.world_size = world_size  # type: ignore[attr-defined]
    data.trainer = Trainer()  # type: ignore[assignment]
    return data


def batches(data: ImageDataModule, loader: Any) -> list[Any]:
    return [data.on_after_batch_transfer(item, 0) for item in loader]


def test_folders_are_read_where_they_are(root: Path) -> None:
    splits = load_splits(finetune(root).data)
    assert splits.classes == WNIDS
    assert [len(splits[s]) for s in ("train", "val", "test")] == [18, 6, 9]
    assert all(isinstance(splits[s], StoredImages) for s in ("train", "val", "test"))
    assert isinstance(splits.test, StoredImages)
    assert splits.test.stored == (36, 36)
    first = splits.test.read(np.array([0]))
    assert torch.equal(first[0], decode(root / "val" / WNIDS[0] / "0000.JPEG", 36))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("parts", [1, 2])
def test_images_on_disk_make_the_batches_that_images_in_memory_make(
    root: Path, workers: int, parts: int
) -> None:
    overrides = [f"data.workers={workers}", f"trainer.accumulate={parts}"]
    memory = data_module(finetune(root, "data.resident=true", *overrides))
    disk = data_module(finetune(root, *overrides))
    assert isinstance(memory.splits.train, Images)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loaders = [getattr(data, name)() for data in (memory, disk)]
        assert len(loaders[0]) == len(loaders[1]) > 0
        pairs = zip(batches(memory, loaders[0]), batches(disk, loaders[1]), strict=True)
        for from_memory, from_disk in pairs:
            for field, value in vars(from_memory).items():
                expected = getattr(from_disk, field)
                equal = (
                    torch.equal(value, expected) if torch.is_tensor(value) else value == expected
                )
                assert equal, (name, field)
            shape = (from_memory.mixed if name == "train_dataloader" else from_memory.view).shape
            assert shape[-2:] == (32, 32)


def test_each_process_reads_its_own_images_alone(root: Path) -> None:
    indices: list[list[Any]] = []
    for rank in (0, 1):
        data = data_module(finetune(root, "data.workers=0"), world_size=2, rank=rank)
        items = list(data.train_dataloader())
        assert all(isinstance(item, Fetched) and len(item.pixels) == 4 for item in items)
        indices.append([batch.index.tolist() for batch in batches(data, items)])
    for a, b in zip(*indices, strict=True):
        assert len({*a, *b}) == 8


def test_views_are_whole_in_evaluation_and_crops_in_training(root: Path) -> None:
    data = data_module(finetune(root))
    assert isinstance(data.splits.test, StoredImages)
    stored = data.splits.test.read(np.arange(4))
    batch = batches(data, data.test_dataloader())[0]
    expected = functional.resize(stored.float() / 255, [32, 32], antialias=True)
    torch.testing.assert_close(batch.view, expected)
    assert data.stream is not None
    assert data.stream.slack == 4
    plan = data.stream.plan(1, 0)
    assert isinstance(data.splits.train, StoredImages)
    train = data.splits.train.read(plan.image.numpy())
    view = data.views.training(train, plan.top, plan.left, plan.flip)
    for row in range(8):
        top, left = int(plan.top[row]), int(plan.left[row])
        crop = train[row, :, top : top + 32, left : left + 32].float() / 255
        assert torch.equal(view[row], crop.flip(-1) if plan.flip[row] else crop)


def test_small_images_are_enlarged_on_the_device() -> None:
    overrides = ["data=digits", "data.size=48", "data.resize=56", "data.pad=0", "network=resnet20"]
    cfg = request("finetune", overrides)
    splits = load_splits(cfg.data)
    assert splits.test.stored == (56, 56)  # digits are drawn at that size
    images = Images(torch.full((2, 3, 32, 32), 51, dtype=torch.uint8), *[torch.arange(2)] * 2)
    views = make_views(cfg.data, Splits(images, images, images, ("a", "b")))
    assert (views.whole, views.shape, views.slack) == ((56, 56), (48, 48), 8)
    zero = torch.zeros(2, dtype=torch.int64)
    for view in (
        views.training(images.pixels, zero, zero, zero.bool()),
        views.evaluation(images.pixels),
    ):
        assert view.shape == (2, 3, 48, 48)
        torch.testing.assert_close(view, torch.full_like(view, 0.2))


def test_a_file_that_is_damaged_stops_the_run_with_its_name(root: Path) -> None:
    (root / "val" / WNIDS[1] / "0001.JPEG").write_bytes(b"no image")
    data = data_module(finetune(root, "data.workers=1"))
    with pytest.raises(UserError, match=rf"data.root: .*{WNIDS[1]}/0001.JPEG cannot be decoded"):
        batches(data, data.test_dataloader())


def test_images_below_a_class_folder_belong_to_it(root: Path) -> None:
    folder = root / "train" / WNIDS[0]
    (folder / "images").mkdir()
    for file in folder.glob("*.JPEG"):
        file.rename(folder / "images" / file.name)
    assert len(load_splits(finetune(root).data).train) == 18


def test_limits_and_the_held_out_images_are_as_in_memory(root: Path) -> None:
    overrides = ["data.limit_train=9", "data.limit_test=6"]
    disk = load_splits(finetune(root, *overrides).data)
    memory = load_splits(finetune(root, *overrides, "data.resident=true").data)
    for split in ("train", "val", "test"):
        assert torch.equal(disk[split].index, memory[split].index)


def test_the_fingerprint_knows_names_and_sizes(root: Path) -> None:
    first = load_splits(finetune(root).data).fingerprints
    assert list(first) == ["data_files"]
    assert load_splits(finetune(root).data).fingerprints == first
    file = root / "train" / WNIDS[0] / "0000.JPEG"
    file.write_bytes(file.read_bytes() + b"\0")
    assert load_splits(finetune(root).data).fingerprints != first


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def archives(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The three archives of ILSVRC 2012 in their own form, of three classes."""
    folder = tmp_path / "archives"
    folder.mkdir()
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as train:
        for wnid in WNIDS:
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as images:
                for file in sorted((root / "train" / wnid).iterdir()):
                    add(images, f"{wnid}_{file.name}", file.read_bytes())
            add(train, f"{wnid}.tar", buffer.getvalue())
    labels = []
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as val:
        files = sorted((root / "val").rglob("*.JPEG"), key=lambda f: (f.name, f.parent.name))
        for number, file in enumerate(files, start=1):
            add(val, f"ILSVRC2012_val_{number:08d}.JPEG", file.read_bytes())
            labels.append(3 - WNIDS.index(file.parent.name))  # the devkit's own numbers
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"),
             ("num_children", "O")]  # fmt: skip
    rows = [(3 - i, wnid, f"fish {i}, other", "-", 0) for i, wnid in enumerate(WNIDS)]
    rows.append((4, "n00001740", "entity", "-", 3))
    savemat(tmp_path / "meta.mat", {"synsets": np.array(rows, dtype=fields)[:, None]})
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        data = "ILSVRC2012_devkit_t12/data"
        add(archive, f"{data}/meta.mat", (tmp_path / "meta.mat").read_bytes())
        lines = "".join(f"{n}\n" for n in labels).encode()
        add(archive, f"{data}/ILSVRC2012_validation_ground_truth.txt", lines)
    # torchvision knows the sums of the published archives.
    sums = {
        key: (name, hashlib.md5((folder / name).read_bytes()).hexdigest())
        for key, (name, _) in devkit.ARCHIVE_META.items()
    }
    monkeypatch.setattr(devkit, "ARCHIVE_META", sums)
    return folder


def test_archives_are_unpacked_once(archives: Path, root: Path) -> None:
    splits = load_splits(finetune(archives).data)
    assert splits.classes == WNIDS
    folders = load_splits(finetune(root).data)
    assert isinstance(splits.test, StoredImages)
    assert isinstance(folders.test, StoredImages)
    assert splits.test.labels.tolist() == folders.test.labels.tolist()
    for position in range(9):  # each image with its own label
        assert torch.equal(
            splits.test.read(np.array([position])), folders.test.read(np.array([position]))
        )
    for archive in archives.glob("*.tar*"):
        archive.unlink()
    assert len(load_splits(finetune(archives).data).train) == 18
    assert not list(archives.glob(".*-partial"))


@pytest.mark.integration
def test_a_run_that_unpacked_its_data_is_found_again(
    mixkd: Callable[..., int], archives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*OVERRIDES, f"data.root={archives}", "network=resnet20", "network.args.depth=8"]
    for message in ("finished: ", "finished before"):
        assert mixkd("finetune", *overrides, "trainer.max_epochs=1", "data.workers=0") == 0
        assert message in capsys.readouterr().out
    assert len(list(Path("runs/imagenet/finetune").iterdir())) == 1


def test_a_half_unpacked_archive_is_unpacked_anew(
    archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = devkit.extract_archive

    def interrupted(source: Any, target: Any = None, remove_finished: bool = False) -> Any:
        if WNIDS[1] in str(source):
            raise KeyboardInterrupt
        return original(source, target, remove_finished)

    monkeypatch.setattr(devkit, "extract_archive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_splits(finetune(archives).data)
    assert not (archives / "train").exists()
    monkeypatch.setattr(devkit, "extract_archive", original)
    assert len(load_splits(finetune(archives).data).train) == 18


def test_an_archive_that_is_not_the_published_one_is_refused(archives: Path) -> None:
    with open(archives / "ILSVRC2012_img_train.tar", "ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match=r"data.root: .*img_train.tar cannot be unpacked"):
        load_splits(finetune(archives).data)


def test_an_empty_root_says_what_it_takes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"lacks train/ and val/; takes .*ILSVRC2012_img_train"):
        load_splits(finetune(tmp_path / "empty").data)


def imagenet_c(root: Path, *overrides: str) -> EvaluateConfig:
    torch.save({}, "w.pth")
    network = ["network=resnet20", "network.weights=w.pth", "data.size=32"]
    cfg = accept(
        compose("evaluate", [*network, "data=imagenet_c", f"data.root='{root}'", *overrides])
    )
    assert isinstance(cfg, EvaluateConfig)
    return cfg


@pytest.mark.parametrize("group", ["", "weather"])
def test_imagenet_c_is_folders_of_a_corruption_and_a_severity(
    root: Path, tmp_path: Path, group: str, write_imagenet: Write
) -> None:
    folder = tmp_path / "c" / group / "fog"
    folder.mkdir(parents=True)
    for severity in "135":
        (root / "val").rename(folder / severity)
        write_imagenet(root)
    fog = load_splits(imagenet_c(tmp_path / "c", "data.corruption=fog", "data.severity=3").data)
    assert (len(fog.train), len(fog.val), len(fog.test)) == (0, 0, 9)
    assert fog.classes == WNIDS
    for overrides, message in (
        (["data.corruption=frog"], r"data.corruption: got frog \(did you mean fog\?\); .* has fog"),
        (["data.corruption=fog", "data.severity=2"], r"data.severity: got 2; there is no"),
    ):
        with pytest.raises(UserError, match=message):
            load_splits(imagenet_c(tmp_path / "c", *overrides).data)


def test_files_of_corrupted_folders_that_are_not_read_are_noted_once(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for severity in "12":
        shutil.copytree(root / "val", tmp_path / "c" / "fog" / severity)
        (tmp_path / "c" / "fog" / severity / WNIDS[0] / "0.heic").touch()
    for severity in (1, 2):
        overrides = "data.corruption=fog", f"data.severity={severity}"
        load_splits(imagenet_c(tmp_path / "c", *overrides).data)
    notes = [line for line in capsys.readouterr().err.splitlines() if "not read" in line]
    assert len(notes) == 1
    assert f"1 .heic, such as 'fog/1/{WNIDS[0]}/0.heic'" in notes[0]


def test_a_split_by_another_name_is_to_be_renamed(root: Path) -> None:
    (root / "val").rename(root / "validation")
    with pytest.raises(UserError, match=r"lacks val/; .*; rename validation/ to val/"):
        load_splits(finetune(root).data)


def test_loaders_of_resident_images_yield_positions(root: Path) -> None:
    data = data_module(finetune(root, "trainer.accumulate=2", "data.resident=true"))
    assert list(data.train_dataloader())[:3] == [Step(1, 0, 0), Step(1, 0, 1), Step(1, 1, 0)]
    assert list(data.val_dataloader()) == [Range("val", 0, 4), Range("val", 4, 6)]
