import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mixkd import console
from mixkd.data.splits import Splits, load_splits
from mixkd.errors import UserError
from mixkd.request import request
from tests.conftest import write_images


def load(root: Path, **keys: Any) -> Splits:
    overrides = ["network=resnet20", "data=imagefolder", f"data.root='{root}'"]
    overrides += [f"data.{k}={v}" for k, v in keys.items()]
    return load_splits(request("finetune", overrides).data)


def test_pixels_labels_and_order_are_the_folders(image_folder: Path) -> None:
    splits = load(image_folder)
    assert splits.classes == ("blue", "green", "red")
    assert splits.test.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    file = image_folder / "test" / "green" / "0002.jpg"
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    assert torch.equal(splits.test.pixels[8], expected)


def test_test_alone_reports_and_selection_is_val_of_train(image_folder: Path) -> None:
    splits = load(image_folder)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (54, 6, 18)


def test_val_alone_reports_too(image_folder: Path) -> None:
    (image_folder / "test").rename(image_folder / "val")
    splits = load(image_folder)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (54, 6, 18)


def test_val_selects_where_test_reports(image_folder: Path) -> None:
    for name in ("blue", "green", "red"):
        write_images(image_folder / "val" / name, 4, (9, 9, 9))
    splits = load(image_folder)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (60, 12, 18)


def test_the_second_start_reads_the_cache(image_folder: Path, tmp_path: Path) -> None:
    first = load(image_folder)
    caches = list((tmp_path / "cache" / "mixkd").glob("*.npy"))
    assert len(caches) == 1
    written_at = caches[0].stat().st_mtime_ns
    second = load(image_folder)
    assert caches[0].stat().st_mtime_ns == written_at
    assert torch.equal(first.train.pixels, second.train.pixels)
    caches[0].write_bytes(b"half a file")
    assert torch.equal(load(image_folder).train.pixels, first.train.pixels)
    write_images(image_folder / "test" / "red", 6, (200, 200, 40))
    assert not torch.equal(load(image_folder).test.pixels, first.test.pixels)


def test_two_folders_that_look_alike_are_not_confused(image_folder: Path, tmp_path: Path) -> None:
    name = "test/red/a.bmp"
    Image.new("RGB", (16, 16), "white").save(image_folder / name)
    twin = tmp_path / "twin"
    shutil.copytree(image_folder, twin)  # with every size and time
    first = load(image_folder).test.pixels
    times = (image_folder / name).stat()
    Image.new("RGB", (16, 16), "black").save(twin / name)
    os.utime(twin / name, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (twin / name).stat().st_size == times.st_size
    assert not torch.equal(load(twin).test.pixels, first)


def test_any_mode_of_image_becomes_upright_rgb(image_folder: Path) -> None:
    folder = image_folder / "test" / "red"
    shutil.rmtree(folder)
    folder.mkdir()
    grey = Image.fromarray(np.full((16, 16), 77, dtype=np.uint8))
    grey.save(folder / "a.png")
    grey.convert("P").save(folder / "b.gif")
    Image.new("CMYK", (16, 16), (0, 0, 0, 0)).save(folder / "c.jpg", quality=100)
    half = np.zeros((16, 16, 3), dtype=np.uint8)
    half[:8] = 255  # white above; the orientation tag turns it upside down
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(half).save(folder / "d.png", exif=exif)
    (folder / "notes.txt").write_text("not an image")
    pixels = load(image_folder).test.pixels[-4:]
    assert (pixels[0] == 77).all()
    assert (pixels[1].int() - 77).abs().max() <= 1
    assert (pixels[2] == 255).all()
    assert (pixels[3, :, :8] == 0).all()
    assert (pixels[3, :, 8:] == 255).all()


def test_sixteen_bits_keep_their_shades(image_folder: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(image_folder / "test" / "red" / "9.png")
    levels = load(image_folder).test.pixels[-1, 0].flatten().tolist()
    assert levels == list(range(256))


def test_size_resizes_and_crops(image_folder: Path) -> None:
    Image.new("RGB", (40, 20)).save(image_folder / "train" / "red" / "wide.png")
    with pytest.raises(UserError, match=r"data.size: images have 2 sizes, from 16x16 to 40x20"):
        load(image_folder)
    assert load(image_folder, size=12).train.pixels.shape[-2:] == (12, 12)


def test_every_fault_of_a_folder_is_named(image_folder: Path) -> None:
    shutil.rmtree(image_folder / "test" / "blue")
    for file in (image_folder / "train" / "green").iterdir():
        file.unlink()
    (image_folder / "test" / "pink").mkdir()
    (image_folder / "test" / "red" / "link.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(UserError) as caught:
        load(image_folder)
    message = str(caught.value)
    assert "link.jpg is no file" in message
    assert "no folder for class 'blue'" in message
    assert f"{image_folder / 'train' / 'green'}: no images" in message
    assert f"{image_folder / 'test' / 'pink'}: train/ has no such class" in message


def test_files_that_cannot_be_decoded_are_named(image_folder: Path) -> None:
    damaged = image_folder / "train" / "blue" / "0003.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    (image_folder / "train" / "blue" / "0004.jpg").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        load(image_folder)
    assert len(caught.value.problems) == 2
    assert f"{damaged} cannot be decoded" in str(caught.value)


def test_a_folder_without_splits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    with pytest.raises(UserError, match=r"holds no train/; takes a folder of train/ with val/"):
        load(tmp_path)


def test_files_that_are_not_read_are_noted_once_in_one_line(
    image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.forget_notes()
    load(image_folder)
    assert "not read" not in capsys.readouterr().err
    red = image_folder / "train" / "red"
    for name in ("a.avif", "b.avif", "notes.txt", ".DS_Store"):
        (red / name).write_bytes(b"")
    shutil.copytree(red, red / "@eaDir")
    shutil.copy(red / "0000.jpg", image_folder / "train" / "stray.jpg")
    shutil.copy(red / "0000.jpg", image_folder / "lost.jpg")
    shutil.copy(red / "0000.jpg", red / "0000.JFIF")
    shutil.copytree(image_folder / "test", image_folder / "unlabelled")
    for _ in range(2):
        assert len(load(image_folder).train) + len(load(image_folder).val) == 61
    (line,) = (x for x in capsys.readouterr().err.splitlines() if "not read" in x)
    assert line.startswith(f"note: data.root: not read in {image_folder}: 2 .avif, ")
    parts = (
        "1 .txt", "1 hidden", "1 of the system", "1 in no class folder", "1 in no split",
        "such as 'train/", "beside train/: 'unlabelled'",
    )  # fmt: skip
    for part in parts:
        assert part in line
    console.forget_notes()
    load(image_folder)
    assert line in capsys.readouterr().err


def test_a_split_by_another_name_is_to_be_renamed(image_folder: Path) -> None:
    shutil.copytree(image_folder / "test", image_folder / "valid")
    with pytest.raises(UserError, match=r"data.root: .*; rename valid/ to val/, or move it"):
        load(image_folder)
    (image_folder / "valid").rename(image_folder / "val")
    (image_folder / "test").rename(image_folder / "Testing")
    with pytest.raises(UserError, match=r"rename Testing/ to test/"):
        load(image_folder)
    (image_folder / "train").rename(image_folder / "Train")
    with pytest.raises(
        UserError, match=r"holds no train/; .*; rename Testing/ to test/, Train/ to"
    ):
        load(image_folder)


def test_class_names_that_no_file_could_hold_are_refused(image_folder: Path) -> None:
    for name in (b"caf\xe9", b"a\x1b[31m"):
        for split in ("train", "test"):
            os.rename(image_folder / split / "red", os.fsencode(image_folder / split) + b"/" + name)
        with pytest.raises(UserError) as caught:
            load(image_folder)
        assert len(caught.value.problems) == 1
        assert f"holds a class folder {name!r}; takes names in UTF-8" in str(caught.value)
        for split in ("train", "test"):
            os.rename(os.fsencode(image_folder / split) + b"/" + name, image_folder / split / "red")


def test_a_class_of_files_that_are_not_read_says_so(image_folder: Path) -> None:
    for file in (image_folder / "train" / "green").iterdir():
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(UserError, match=r"no images in this class folder, but 20 .heic, such as"):
        load(image_folder)


def test_memory_that_images_take_is_known_before_they_are_decoded(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mixkd.data.folder.LARGE", 50_000)
    load(image_folder)
    assert "decoding 78 images of" in (notes := capsys.readouterr().err)
    assert "0.0 GB of memory" in notes
    for available in (59_904, 59_903):  # 78 * 16 * 16 * 3
        monkeypatch.setattr("mixkd.data.folder.available_memory", lambda a=available: a)
        if available == 59_904:
            load(image_folder)
            shutil.rmtree(image_folder.parent / "cache")
        monkeypatch.setattr("mixkd.data.folder._decode_all", None)
    with pytest.raises(UserError, match=r"data.resident: 78 images of 16x16 take .*data.size=PIX"):
        load(image_folder)
    with pytest.raises(UserError, match=r"data.resident: 78 images of 64x64 take"):
        load(image_folder, size=64)


def test_images_larger_than_any_size_are_refused_by_their_headers(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("1", (5000, 5000)).save(image_folder / "train" / "blue" / "0000.png")
    (image_folder / "train" / "blue" / "0000.jpg").unlink()
    monkeypatch.setattr("mixkd.data.folder.decode", None)
    with pytest.raises(UserError, match=r"data.size: .*0000.png has 5000x5000 pixels; takes a siz"):
        load(image_folder)
