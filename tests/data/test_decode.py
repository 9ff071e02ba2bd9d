"""JPEG files are decoded by torchvision, all others by Pillow: nobody can tell by the pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, ImageOps

from mixkd.data.decode import decode

ROTATED = Image.Exif()
ROTATED[0x0112] = 6  # shown a quarter turn to the right


def picture(mode: str = "RGB", size: tuple[int, int] = (61, 38)) -> Image.Image:
    """A smooth picture with some noise, which chroma subsampling and resizing would show on."""
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 256, (7, 9, 4), dtype=np.uint8), "CMYK")
    large = np.asarray(small.resize(size, Image.Resampling.BICUBIC)).astype(int)
    noisy = (large + rng.integers(-20, 21, large.shape)).clip(0, 255).astype(np.uint8)
    if mode == "CMYK":
        return Image.fromarray(noisy, "CMYK")
    return Image.fromarray(noisy[..., :3]).convert(mode)


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("RGB", {}),
    "best": ("RGB", {"quality": 100, "subsampling": 0}),
    "grey": ("L", {}),
    "cmyk": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "turned": ("RGB", {"exif": ROTATED}),
}


@pytest.mark.parametrize("form", FORMS)
def test_jpeg_files_have_the_pixels_that_pillow_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    mode, options = FORMS[form]
    picture(mode).save(tmp_path / "a.jpg", **options)
    with Image.open(tmp_path / "a.jpg") as file:
        expected = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))

    def never(file: Image.Image) -> None:
        raise AssertionError("Pillow decoded a JPEG file")

    if form != "turned":
        monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    found = decode(tmp_path / "a.jpg", None)
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found.permute(1, 2, 0), torch.from_numpy(expected.copy()))


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("size", [(60, 38), (38, 60), (38, 38)])
@pytest.mark.parametrize("side", [16, 90])
def test_the_middle_square_is_resized_as_pillow_resizes(
    tmp_path: Path, name: str, size: tuple[int, int], side: int
) -> None:
    picture(size=size).save(tmp_path / name)
    with Image.open(tmp_path / name) as file:
        left, top = (size[0] - 38) // 2, (size[1] - 38) // 2
        square = file.crop((left, top, left + 38, top + 38))
        fitted = square.resize((side, side), Image.Resampling.BILINEAR)
    found = decode(tmp_path / name, side)
    assert isinstance(found, torch.Tensor)
    difference = found.permute(1, 2, 0).int() - torch.from_numpy(np.asarray(fitted).astype(int))
    assert difference.abs().max() <= 1


def test_what_is_left_of_a_jpeg_file_is_told_not_guessed(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    for kept in (len(whole) // 2, 30, 0):
        (tmp_path / "a.jpg").write_bytes(whole[:kept])
        found = decode(tmp_path / "a.jpg", None)
        assert isinstance(found, str)
        assert found.startswith(f"{tmp_path / 'a.jpg'} cannot be decoded: ")


def test_rare_images_are_read_as_they_look(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    grey = torch.from_numpy(levels.astype(np.uint8)).expand(3, 16, 16)

    def read(image: Image.Image, name: str) -> torch.Tensor:
        image.save(tmp_path / name)
        found = decode(tmp_path / name, None)
        assert isinstance(found, torch.Tensor), found
        return found

    # 16 bits are scaled, not clipped to white.
    for name in ("deep.png", "deep.tif"):
        assert torch.equal(read(Image.fromarray(levels * 257), name), grey)
    half = np.full((16, 16), 32768, np.uint16)
    assert (read(Image.fromarray(half), "half.png") == 128).all()
    palette = Image.fromarray(levels.astype(np.uint8), "P")
    palette.putpalette([value for level in range(256) for value in (255 - level, level, 7)])
    expected = torch.stack([255 - grey[0], grey[0], torch.full((16, 16), 7, dtype=torch.uint8)])
    assert torch.equal(read(palette, "palette.png"), expected)
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    for name in ("ink.tif", "ink.jpg"):
        red, green, blue = read(ink, name).float().mean(dim=(1, 2)).tolist()
        assert red > 250
        assert max(green, blue) < 5
    assert torch.equal(read(Image.fromarray(levels.astype(np.uint8)).convert("LA"), "la.png"), grey)
    bits = Image.fromarray((levels > 127).astype(np.uint8) * 255).convert("1")
    assert torch.equal(read(bits, "bits.png"), (grey > 127).to(torch.uint8) * 255)
