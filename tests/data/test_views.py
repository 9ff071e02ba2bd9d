import pytest
import torch
from torchvision.transforms.v2 import functional as F

from mixkd.data.views import crop_and_flip, to_unit


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_crops_and_flips_equal_torchvisions_one_image_at_a_time(pad: int) -> None:
    pixels = torch.randint(0, 256, (9, 3, 7, 10), dtype=torch.uint8)
    top, left = torch.randint(0, 2 * pad + 1, (2, 9))
    flip = torch.arange(9) % 2 == 0
    views = crop_and_flip(pixels, top, left, flip, pad, pixels.shape[-2:])
    for row in range(9):
        expected = F.crop(F.pad(pixels[row], [pad] * 4), int(top[row]), int(left[row]), 7, 10)
        expected = F.horizontal_flip(expected) if flip[row] else expected
        assert torch.equal(views[row], expected)


def test_the_middle_crop_is_the_image_itself() -> None:
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    middle, no_flip = torch.full((2,), 4), torch.zeros(2, dtype=torch.bool)
    assert torch.equal(crop_and_flip(pixels, middle, middle, no_flip, 4, pixels.shape[-2:]), pixels)


def test_bytes_become_float32_in_unit_range() -> None:
    unit = to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert unit.dtype == torch.float32
    assert unit.tolist() == pytest.approx([0.0, 0.2, 1.0])
