"""Decoding: JPEG files by torchvision, all others by Pillow, with the same pixels."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, ImageOps

from mixkd.data.decode import decode, measure

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

    def fail(file: Image.Image) -> None:
        raise AssertionError("Pillow decoded a JPEG file")

    if form != "turned":
        monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    decoded = decode(tmp_path / "a.jpg", None)
    assert isinstance(decoded, torch.Tensor)
    assert torch.equal(decoded.permute(1, 2, 0), torch.from_numpy(expected.copy()))


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
    decoded = decode(tmp_path / name, side)
    assert isinstance(decoded, torch.Tensor)
    difference = decoded.permute(1, 2, 0).int() - torch.from_numpy(np.asarray(fitted).astype(int))
    assert difference.abs().max() <= 1


def test_a_truncated_jpeg_file_is_refused_not_guessed(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    for length in (len(content) // 2, 30, 0):
        (tmp_path / "a.jpg").write_bytes(content[:length])
        decoded = decode(tmp_path / "a.jpg", None)
        assert isinstance(decoded, str)
        assert decoded.startswith(f"{tmp_path / 'a.jpg'} cannot be decoded: ")


def test_rare_images_are_read_as_they_look(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    grey = torch.from_numpy(levels.astype(np.uint8)).expand(3, 16, 16)

    def read(image: Image.Image, name: str) -> torch.Tensor:
        image.save(tmp_path / name)
        decoded = decode(tmp_path / name, None)
        assert isinstance(decoded, torch.Tensor), decoded
        return decoded

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


def encoded(form: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, form, **options)
    return buffer.getvalue()


def test_a_photograph_whose_tags_cannot_be_written_back_is_upright(tmp_path: Path) -> None:
    half = np.zeros((16, 24, 3), np.uint8)
    half[:8] = 255  # white above; the tag turns it a quarter to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "x" * 40
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        Image.fromarray(half).save(
            buffer, form, exif=exif, **({"quality": 100} if form[0] in "JW" else {})
        )
        data = bytearray(buffer.getvalue())
        position = data.index(struct.pack("<H", 0x010E) if b"II*\0" in data else b"\x01\x0e")
        order = "<" if b"II*\0" in data else ">"
        # The description becomes a number, which Pillow cannot write as the text that it should be;
        # in a TIFF file one where it looks for a place in the file.
        tag = 0x8825 if form == "TIFF" else 0x010E
        data[position : position + 12] = struct.pack(f"{order}HHII", tag, 11, 1, 0x7F800000)
        if form == "PNG":
            data = bytearray(with_checksums(bytes(data)))
        (tmp_path / "a").write_bytes(data)
        decoded = decode(tmp_path / "a", None)
        assert isinstance(decoded, torch.Tensor), decoded
        assert decoded.shape == (3, 24, 16), form
        assert decoded[:, :, 8:].float().mean() > 250, form
        assert measure(tmp_path / "a") == (24, 16)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG file whose chunks have the checksums of what they hold."""
    parts, position = [data[:8]], 8
    while position < len(data):
        (size,) = struct.unpack(">I", data[position : position + 4])
        chunk = data[position + 4 : position + 8 + size]
        parts.append(data[position : position + 4] + chunk + struct.pack(">I", zlib.crc32(chunk)))
        position += 12 + size
    return b"".join(parts)


@pytest.mark.filterwarnings("ignore")
def test_nonsense_among_the_tags_costs_no_photograph(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 1, "hello", 72.0
    rng = np.random.default_rng(0)
    for form in ("JPEG", "PNG", "WEBP"):
        content = encoded(form, exif=exif)
        tags = content.index(b"MM\0*" if b"MM\0*" in content else b"II*\0")
        for _ in range(100):
            data = bytearray(content)
            for position in rng.integers(tags, tags + 60, 3):
                data[position] = rng.choice([0, 1, 2, 255, rng.integers(256)])
            path = tmp_path / "a"
            path.write_bytes(with_checksums(bytes(data)) if form == "PNG" else data)
            assert isinstance(decode(path, None), torch.Tensor)


@pytest.mark.filterwarnings("ignore")
def test_any_change_of_a_file_gives_an_image_or_a_message(tmp_path: Path) -> None:
    contents = [
        encoded("JPEG", exif=ROTATED), encoded("PNG", exif=ROTATED), encoded("TIFF", exif=ROTATED),
        encoded("TIFF", compression="tiff_deflate"), encoded("WEBP", exif=ROTATED),
        encoded("GIF", "P"), encoded("BMP"), encoded("PPM"), encoded("PNG", "P", transparency=3),
        b"P2\n3 3\n255\n1 2 3 4 5 6 7 8 9\n",
    ]  # fmt: skip
    rng, path = np.random.default_rng(0), tmp_path / "a"
    for content in contents:
        for _ in range(40):
            data = bytearray(content)
            for position in rng.integers(0, min(len(data), int(rng.choice([32, 200, 10**6]))), 3):
                data[position] = rng.choice([0, 1, 255, rng.integers(256)])
            path.write_bytes(data[: rng.integers(len(data))] if rng.random() < 0.1 else data)
            decoded = decode(path, 8)
            if isinstance(decoded, str):
                assert decoded.startswith(f"{path} cannot be decoded: ")
                assert " at 0x" not in decoded
            else:
                assert decoded.shape == (3, 8, 8)


def test_only_the_formats_that_are_documented_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", fail)
    monkeypatch.setattr("subprocess.check_call", fail)
    path = tmp_path / "0.png"
    for form in ("EPS", "PDF", "PCX", "TGA", "ICO", "SGI", "JPEG2000"):
        path.write_bytes(encoded(form))
        decoded = decode(path, None)
        assert isinstance(decoded, str), form
        assert "none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP" in decoded
        assert measure(path) is None


def png_header(width: int, height: int) -> bytes:
    data = bytearray(encoded("PNG"))
    data[16:24] = struct.pack(">II", width, height)
    return with_checksums(bytes(data))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [(9460, 9460), (13000, 13000), (10**6, 10**6)])
def test_too_many_pixels_are_told_by_the_header(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(png_header(*size))
    decoded = decode(tmp_path / "a.png", 32)
    assert isinstance(decoded, str)
    assert "pixels" in decoded


def test_too_many_bytes_are_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.png", "wb") as file:
        file.write(encoded("PNG"))
        file.truncate(2**30 + 1)
    decoded = decode(tmp_path / "a.png", None)
    assert isinstance(decoded, str)
    assert "it is of 1,073,741,825 bytes; takes up to 1,073,741,824" in decoded


def test_an_image_in_parts_has_the_pixels_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, form, mode in (("a", "PNG", "P"), ("b", "TIFF", "CMYK"), ("c", "GIF", "L")):
        (tmp_path / name).write_bytes(
            encoded(form, mode, exif=ROTATED) if form != "GIF" else encoded(form, mode)
        )
        whole = decode(tmp_path / name, None)
        with monkeypatch.context() as patched:
            patched.setattr("mixkd.data.decode.MANY_PIXELS", 100)
            parts = decode(tmp_path / name, None)
        assert isinstance(whole, torch.Tensor)
        assert isinstance(parts, torch.Tensor)
        assert torch.equal(whole, parts)


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (16, 16), (k, k, k)) for k in (255, 0, 90)]
    options = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(tmp_path / "a", form, save_all=True, append_images=frames[1:], **options)
    decoded = decode(tmp_path / "a", None)
    assert isinstance(decoded, torch.Tensor)
    assert (decoded == 255).all()
