"""Listing a folder: which files are images, and how the others are summed up."""

from pathlib import Path

import pytest

from mixkd.data.listing import LeftOut, class_folders, image_files, renamings, split_meant


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def images(left_out: LeftOut | None = None) -> list[str]:
    return sorted(name for name, _ in image_files(Path(), left_out=left_out))


def test_every_name_of_a_format_that_is_read_is_an_image() -> None:
    names = ["a.JPG", "b.jpeg", "c.jfif", "d.jpe", "e.JIF", "f.jfi", "g.png", "h.apng", "i.bmp",
             "k.gif", "l.webp", "m.ppm", "n.pgm", "o.pbm", "p.pnm", "q.tif", "r.Tiff",
             "in/s.jpg"]  # fmt: skip
    touch(*names)
    assert images() == sorted(names)


def test_what_systems_make_is_no_image() -> None:
    touch("a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "@eaDir/a.jpg", "__MACOSX/._a.jpg",
        ".ipynb_checkpoints/a.jpg", ".AppleDouble/a.jpg", "._a.jpg", "$RECYCLE.BIN/$R1.jpg",
        "lost+found/1.jpg", "#recycle/a.jpg", ".thumbnails/a.png", "Thumbs.db", "desktop.ini",
        ".DS_Store", "System Volume Information/a.jpg", "@__thumb/a.jpg", "@SynoResource/a.jpg",
        "lightroom previews.lrdata/a.jpg", "_thumbs/a.jpg", "Thumbnails/a.jpg")  # fmt: skip
    left_out = LeftOut()
    assert images(left_out) == ["a.jpg"]
    assert left_out.kinds == {"of the system": 13, "hidden": 5}


def test_what_is_left_out_is_counted_with_an_example() -> None:
    touch("a.jpg", "b.avif", "c.AVIF", "d.heic", "x/e.txt", "README", ".hidden")
    left_out = LeftOut()
    assert images(left_out) == ["a.jpg"]
    assert left_out.kinds == {".avif": 2, ".heic": 1, ".txt": 1, "of no extension": 1, "hidden": 1}
    assert str(left_out).startswith("2 .avif, ")
    assert left_out.example in str(left_out)
    assert str(LeftOut()) == ""


def test_many_kinds_of_files_are_summed_up_in_one_line_without_escapes() -> None:
    touch(*(f"a.k{k}" for k in range(20)), "b.\x1b[31m")
    left_out = LeftOut()
    assert images(left_out) == []
    assert "13 others" in str(left_out)
    assert "\x1b" not in str(left_out)
    assert len(str(left_out)) < 250


def test_class_folders_are_neither_hidden_nor_a_systems() -> None:
    touch("red/a.jpg", ".git/a.jpg", "@eaDir/a.jpg", "stray.jpg", "labels.csv")
    left_out = LeftOut()
    assert class_folders(Path(), left_out) == ("red",)
    assert left_out.kinds == {
        "hidden": 1, "of the system": 1, "in no class folder": 1, ".csv": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("valid", "val"), ("Validation", "val"), ("val2017", "val"), ("dev", "val"),
        ("eval", "val"), ("validation_set", "val"), ("images_val", "val"), ("holdout", "val"),
        ("Test", "test"), ("testing", "test"), ("testset", "test"), ("test-images", "test"),
        ("Training", "train"), ("train_data", "train"), ("unlabelled", None), ("train_dev", None),
        ("images", None), ("contest", None), ("data", None),
    ],
)  # fmt: skip
def test_other_names_of_splits_are_recognised(name: str, split: str | None) -> None:
    assert split_meant(name) == split


def test_only_a_split_that_is_not_there_is_renamed() -> None:
    splits = ("train", "val", "test")
    touch("train/a/0.jpg", "valid/a/0.jpg", "tests/unit/figure.png", "testing/a/0.jpg")
    assert renamings(Path(), splits) == ["testing/ to test/", "valid/ to val/"]
    assert renamings(Path(), ("train", "val")) == ["valid/ to val/"]
    touch("val/a/0.jpg")
    assert renamings(Path(), splits) == ["testing/ to test/"]


def test_without_a_train_folder_only_folders_of_images_are_renamed() -> None:
    touch("dev/pts/0", "Train/a/0.jpg", "test/a/0.jpg", "TestSet/a/0.jpg")
    assert renamings(Path(), ("train", "val", "test")) == ["Train/ to train/"]
