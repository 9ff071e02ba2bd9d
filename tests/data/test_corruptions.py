"""The corruptions, each against a plain reference that follows its definition image by image."""

import colorsys
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mixkd.data import corruptions
from mixkd.data.corruption_names import CORRUPTIONS, PAPER, STANDARD
from mixkd.data.corruptions import FROST, PARAMETERS, TEXTURES, Parameters, corrupt
from mixkd.evaluation.corruptions import CorruptionsConfig

SETS: tuple[Parameters, ...] = ("cifar", "imagenet")
WITHOUT_CHANCE = (
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression",
)  # fmt: skip
SEED = 5


def photos(n: int, height: int, width: int) -> np.ndarray:
    """Smooth pictures with a little noise, among them black, white and all levels between."""
    rng = np.random.default_rng(height * width)
    smooth = ndimage.gaussian_filter(rng.normal(size=(n, height, width, 3)), (0, 3, 3, 0.5))
    levels = 128 + 700 * smooth + 5 * rng.normal(size=smooth.shape)
    return levels.clip(0, 255).astype(np.uint8)


def corrupt_seeded(
    name: str, severity: int, pixels: np.ndarray, parameters: Parameters
) -> np.ndarray:
    index = np.arange(len(pixels))
    return corrupt(name, severity, pixels, index, seed=SEED, parameters=parameters)


# The references. Each takes uint8 [h, w, 3], the image's generator and the severity's parameters,
# and returns float64 grey levels [h, w, 3], to be cut off.

Reference = Callable[..., np.ndarray]


def cut(levels: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(levels, 0, 255) + 1e-9).astype(np.uint8)


def gaussian_noise(x: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    return (x / 255 + rng.normal(0, scale, x.shape)) * 255


def shot_noise(x: np.ndarray, rng: np.random.Generator, photons: float) -> np.ndarray:
    return rng.poisson(x / 255 * photons) / photons * 255


def impulse_noise(x: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    hit, salt = rng.random(x.shape) < amount, rng.random(x.shape) < 0.5
    result = x.astype(float)
    result[hit & salt] = 255
    result[hit & ~salt] = 0
    return result


def defocus_blur(
    x: np.ndarray, rng: np.random.Generator, radius: float, softness: float
) -> np.ndarray:
    kernel = corruptions.disk(radius, softness)  # has tests of its own
    reach = len(kernel) // 2
    height, width = x.shape[:2]
    padded = np.pad(x.astype(float), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    total = np.zeros(x.shape)
    for i, j in np.argwhere(kernel):
        total += kernel[i, j] * padded[i : i + height, j : j + width]
    return total


def glass_blur(
    x: np.ndarray, rng: np.random.Generator, sigma: float, reach: int, rounds: int
) -> np.ndarray:
    def blurred(levels: np.ndarray) -> np.ndarray:
        channels = [
            ndimage.gaussian_filter(levels[..., c], sigma, mode="nearest") for c in (0, 1, 2)
        ]
        return np.stack(channels, axis=2)

    image = cut(blurred(x.astype(float)))
    height, width = x.shape[:2]
    for _ in range(rounds):
        for i in range(height - reach, reach, -1):
            for j in range(width - reach, reach, -1):
                dx, dy = rng.integers(-reach, reach, size=2)
                p, q = (i, j), (i + dy, j + dx)
                image[p], image[q] = image[q], image[p]  # of views, hence no swap
    return blurred(image.astype(float))


def motion(x: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """Every pixel looked up, outside ones in the nearest one inside."""
    radians = math.radians(angle)
    rows, columns = np.indices(x.shape[:2])
    total, weights = np.zeros(x.shape), 0.0
    for i in range(int(2 * radius) + 1):
        weight = math.exp(-(i**2) / (2 * sigma**2))
        at_row = (rows + math.ceil(i * math.sin(radians) - 0.5)).clip(0, x.shape[0] - 1)
        at_column = (columns + math.ceil(i * math.cos(radians) - 0.5)).clip(0, x.shape[1] - 1)
        total += weight * x[at_row, at_column]
        weights += weight
    return np.floor(np.floor(total / weights * 257 + 0.5) / 257)


def motion_blur(x: np.ndarray, rng: np.random.Generator, radius: float, sigma: float) -> np.ndarray:
    return motion(x, radius, sigma, rng.uniform(-45, 45))


def zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """The middle of an image, magnified by scipy, and its middle of the size of the image."""
    crop = [math.ceil(side / factor) for side in x.shape[:2]]
    top, left = ((side - c) // 2 for side, c in zip(x.shape, crop, strict=False))
    middle = x[top : top + crop[0], left : left + crop[1]].astype(float)
    large = ndimage.zoom(middle, (factor, factor, 1), order=1)
    top, left = ((large.shape[k] - x.shape[k]) // 2 for k in (0, 1))
    return large[top : top + x.shape[0], left : left + x.shape[1]]


def zoom_blur(x: np.ndarray, rng: np.random.Generator, stop: float, step: float) -> np.ndarray:
    images = [x.astype(float), *(zoomed(x, z) for z in np.arange(1, stop, step))]
    return np.mean(images, axis=0)


def snow(
    x: np.ndarray, rng: np.random.Generator, mean: float, scale: float, zoom: float,
    threshold: float, radius: float, sigma: float, keep: float,
) -> np.ndarray:  # fmt: skip
    layer = zoomed(rng.normal(mean, scale, x.shape[:2])[..., None], zoom)[..., 0]
    layer[layer < threshold] = 0
    flakes = motion(cut(layer * 255), radius, sigma, rng.uniform(-135, -45))[..., None]
    unit = x / 255
    grey = unit @ [[0.299], [0.587], [0.114]]
    whitened = keep * unit + (1 - keep) * np.maximum(unit, 1.5 * grey + 0.5)
    return whitened * 255 + flakes + np.rot90(flakes, 2)


def frost(
    x: np.ndarray, rng: np.random.Generator, keep: float, ice: float, thin: int
) -> np.ndarray:
    name = ["frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"][rng.integers(5)]
    picture = Image.open(FROST / name).convert("RGB")
    if thin == 5:  # one sample at the centre of each 5 x 5 pixels is what bilinear means there
        size = (round(picture.width * 0.2), round(picture.height * 0.2))
        box = (0, 0, 5 * size[0], 5 * size[1])
        picture = picture.transform(size, Image.Transform.EXTENT, box, Image.Resampling.NEAREST)
    top = rng.integers(picture.height - x.shape[0])
    left = rng.integers(picture.width - x.shape[1])
    piece = picture.crop((left, top, left + x.shape[1], top + x.shape[0]))
    return keep * x.astype(float) + ice * np.asarray(piece)


def clouds(rng: np.random.Generator, size: int, decay: float) -> np.ndarray:
    """Diamond-square, point by point: squares' centres first, then the middles of their edges."""
    height = {(0, 0): 0.0}
    step, wobble = size, 100.0
    while step >= 2:
        half = step // 2
        starts = ((half, half), (0, half), (half, 0))
        around = (
            ((-half, -half), (-half, half), (half, -half), (half, half)),
            *[((-half, 0), (half, 0), (0, -half), (0, half))] * 2,
        )
        for (top, left), offsets in zip(starts, around, strict=True):
            for i in range(top, size, step):
                for j in range(left, size, step):
                    neighbours = [height[(i + a) % size, (j + b) % size] for a, b in offsets]
                    height[i, j] = sum(neighbours) / 4 + wobble * rng.uniform(-wobble, wobble)
        step, wobble = half, wobble / decay
    grid = np.array([[height[i, j] for j in range(size)] for i in range(size)])
    return (grid - grid.min()) / (grid.max() - grid.min())


def fog(x: np.ndarray, rng: np.random.Generator, density: float, decay: float) -> np.ndarray:
    size = next(2**k for k in range(20) if 2**k >= max(x.shape))
    unit = x / 255
    foggy = unit + density * clouds(rng, size, decay)[: x.shape[0], : x.shape[1], None]
    return foggy * unit.max() / (unit.max() + density) * 255


def brightness(x: np.ndarray, rng: np.random.Generator, shift: float) -> np.ndarray:
    def brighter(rgb: np.ndarray) -> tuple[float, ...]:
        hue, saturation, value = colorsys.rgb_to_hsv(*(rgb / 255).tolist())
        return colorsys.hsv_to_rgb(hue, saturation, min(value + shift, 1))

    return np.array([[brighter(rgb) for rgb in row] for row in x]) * 255


def contrast(x: np.ndarray, rng: np.random.Generator, factor: float) -> np.ndarray:
    mean = (x / 255).mean(axis=(0, 1))
    return ((x / 255 - mean) * factor + mean) * 255


def reflect(position: np.ndarray, size: int, edge_twice: bool) -> np.ndarray:
    """Positions off the line [0, size - 1], reflected into it: d c b (a) a b c, or d c b a b c."""
    if edge_twice:
        position = (position + 0.5) % (2 * size)
        return (np.minimum(position, 2 * size - position) - 0.5).clip(0, size - 1)
    position = position % (2 * size - 2)
    return np.minimum(position, 2 * size - 2 - position)


def sample(x: np.ndarray, row: np.ndarray, column: np.ndarray, edge_twice: bool) -> np.ndarray:
    """Bilinear samples of an image [h, w, 3] at positions [h, w]."""
    row, column = reflect(row, x.shape[0], edge_twice), reflect(column, x.shape[1], edge_twice)
    total = np.zeros(x.shape)
    for i in (np.floor(row).astype(int), np.floor(row).astype(int) + 1):
        for j in (np.floor(column).astype(int), np.floor(column).astype(int) + 1):
            weight = (1 - abs(row - i)) * (1 - abs(column - j))
            neighbour = x[i.clip(0, x.shape[0] - 1), j.clip(0, x.shape[1] - 1)]
            total += weight[..., None] * neighbour
    return total


def elastic_transform(
    x: np.ndarray, rng: np.random.Generator, strength: float, sigma: float, shift: float
) -> np.ndarray:
    height, width = x.shape[:2]
    side = min(height, width) // 3
    corners = np.array(
        [[width // 2 + i * side, height // 2 + j * side] for i, j in ((1, 1), (1, -1), (-1, -1))]
    )
    moved = corners + rng.uniform(-shift, shift, (3, 2))
    # Two edges of the triangle say what the linear part does; then one corner, where it all lies.
    linear = (moved[1:] - moved[0]).T @ np.linalg.inv((corners[1:] - corners[0]).T)
    rows, columns = np.indices((height, width))
    offset = np.stack([columns, rows], axis=2) - moved[0]
    source = offset @ np.linalg.inv(linear).T + corners[0]
    image = sample(x.astype(float), source[..., 1], source[..., 0], edge_twice=False)
    fields = [rng.uniform(-1, 1, (height, width)) for _ in range(2)]
    dx, dy = (
        strength * ndimage.gaussian_filter(u, sigma, mode="reflect", truncate=3) for u in fields
    )
    return sample(image, rows + dy, columns + dx, edge_twice=True)


def pixelate(x: np.ndarray, rng: np.random.Generator, factor: float) -> np.ndarray:
    small = (int(x.shape[1] * factor), int(x.shape[0] * factor))
    image = Image.fromarray(x).resize(small, Image.Resampling.BOX)
    return np.asarray(image.resize((x.shape[1], x.shape[0]), Image.Resampling.BOX)).astype(float)


def jpeg_compression(x: np.ndarray, rng: np.random.Generator, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(x).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(file.getvalue()))).astype(float)


REFERENCES: dict[str, Reference] = {
    function.__name__: function
    for function in (
        gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur,
        zoom_blur, snow, frost, fog, brightness, contrast, elastic_transform, pixelate,
        jpeg_compression,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize(("parameters", "shape"), [("cifar", (32, 32)), ("imagenet", (40, 66))])
def test_each_corruption_equals_its_reference(
    name: str, parameters: Parameters, shape: tuple[int, int]
) -> None:
    pixels = photos(2, *shape)
    for severity, values in enumerate(PARAMETERS[parameters][name], start=1):
        index = np.array([4, 9_999])
        corrupted = corrupt(name, severity, pixels, index, seed=SEED, parameters=parameters)
        for k, i in enumerate(index):
            rng = np.random.default_rng([SEED, STANDARD.index(name), severity, i])
            values = values if isinstance(values, tuple) else (values,)
            expected = cut(REFERENCES[name](pixels[k], rng, *values))
            np.testing.assert_array_equal(corrupted[k], expected, err_msg=f"severity {severity}")


def parts(n: int) -> Iterator[np.ndarray]:
    yield from np.split(np.random.default_rng(0).permutation(n), [1, 4])


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize("parameters", SETS)
def test_an_image_does_not_depend_on_its_batch(
    name: str, parameters: Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, index = photos(7, 32, 32), np.array([7, 3, 0, 50_000, 11, 12, 13])
    for severity in range(1, 6):

        def corrupt_part(part: np.ndarray, severity: int = severity) -> np.ndarray:
            return corrupt(
                name, severity, pixels[part], index[part], seed=SEED, parameters=parameters
            )

        whole = corrupt_part(np.arange(7))
        for part in parts(7):
            np.testing.assert_array_equal(corrupt_part(part), whole[part])
        with monkeypatch.context() as patch:
            patch.setattr(corruptions, "CHUNK", 2 * 32 * 32)
            np.testing.assert_array_equal(corrupt_part(np.arange(7)), whole)


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize("parameters", SETS)
def test_severities_differ_from_one_another_and_from_the_image(
    name: str, parameters: Parameters
) -> None:
    pixels = photos(2, 48, 32)
    original = pixels.copy()
    images = [pixels, *(corrupt_seeded(name, s, pixels, parameters) for s in range(1, 6))]
    np.testing.assert_array_equal(pixels, original)  # the input is not modified
    assert {(x.dtype, x.shape) for x in images} == {(np.dtype(np.uint8), (2, 48, 32, 3))}
    for k in range(2):
        assert len({x[k].tobytes() for x in images}) == 6


@pytest.mark.parametrize("name", STANDARD)
def test_chance_comes_from_the_seed_and_the_position(name: str) -> None:
    pixels = photos(1, 32, 32)

    def corrupted_bytes(seed: int, position: int) -> bytes:
        index = np.array([position])
        return corrupt(name, 3, pixels, index, seed=seed, parameters="cifar").tobytes()

    assert corrupted_bytes(1, 2) == corrupted_bytes(1, 2)
    outcomes = {
        corrupted_bytes(1, 2),
        corrupted_bytes(2, 2),
        corrupted_bytes(1, 3),
        corrupted_bytes(2, 1),
    }
    assert len(outcomes) == (1 if name in WITHOUT_CHANCE else 4)


@pytest.mark.parametrize("name", STANDARD)
def test_images_of_any_size_keep_it(name: str) -> None:
    for shape in ((224, 224), (23, 61), (130, 70)):
        pixels = photos(1, *shape)
        corrupted = corrupt_seeded(name, 4, pixels, corruptions.parameters_for(*shape))
        assert (corrupted.dtype, corrupted.shape) == (np.uint8, pixels.shape)
        assert (corrupted != pixels).any()


@pytest.mark.parametrize("level", [0, 77, 255])
def test_what_changes_no_flat_image_leaves_every_level(level: int) -> None:
    pixels = np.full((1, 32, 32, 3), level, dtype=np.uint8)
    for name in ("glass_blur", "motion_blur", "zoom_blur", "contrast", "elastic_transform"):
        for parameters in SETS:
            for severity in range(1, 6):
                corrupted = corrupt_seeded(name, severity, pixels, parameters)
                np.testing.assert_array_equal(corrupted, pixels, err_msg=f"{name} {severity}")
    for severity in range(1, 6):
        np.testing.assert_array_equal(
            corrupt_seeded("defocus_blur", severity, pixels, "cifar"), pixels
        )


def test_corrupting_no_images_gives_no_images() -> None:
    none = np.zeros((0, 32, 32, 3), dtype=np.uint8)
    for name in STANDARD:
        assert corrupt_seeded(name, 1, none, "cifar").shape == none.shape


def test_names_and_parameters_are_complete() -> None:
    assert len(STANDARD) == len(set(STANDARD)) == 15
    assert tuple(corruptions.FUNCTIONS) == tuple(CORRUPTIONS) == tuple(REFERENCES) == STANDARD
    assert set(PAPER) < set(STANDARD)
    # Other keys would make other images.
    assert [corruption.key for corruption in CORRUPTIONS.values()] == list(range(15))
    for table in PARAMETERS.values():
        assert tuple(table) == STANDARD
        assert {len(values) for values in table.values()} == {5}


def test_one_beyond_the_standard_ones_is_asked_for_by_its_name_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(CORRUPTIONS, "rain", CORRUPTIONS["fog"]._replace(key=15))
    keys = {"enabled": True, "source": "made", "root": None, "severities": [1], "seed": 0}
    assert CorruptionsConfig(**keys, names="all").chosen == STANDARD
    raw = {**keys, "names": ["rain"]}
    assert not [*CorruptionsConfig.contradictions(raw, {"data": {"source": "digits"}})]


def test_parameters_go_by_the_longer_side() -> None:
    sets = [corruptions.parameters_for(*shape) for shape in ((32, 32), (64, 64), (32, 65), (65, 9))]
    assert sets == ["cifar", "cifar", "imagenet", "imagenet"]


def test_unknown_names_and_severities_are_refused() -> None:
    pixels = photos(1, 32, 32)
    with pytest.raises(ValueError, match=r"called 'fogg'; there are gaussian_noise, .*fog, "):
        corrupt_seeded("fogg", 1, pixels, "cifar")
    for severity in (0, 6):
        with pytest.raises(ValueError, match=f"from 1 to 5; got {severity}"):
            corrupt_seeded("fog", severity, pixels, "cifar")


def test_the_kernel_of_defocus_is_a_disk() -> None:
    for parameters in SETS:
        for radius, softness in PARAMETERS[parameters]["defocus_blur"]:  # type: ignore[misc]
            kernel = corruptions.disk(radius, softness)
            middle = len(kernel) // 2
            distance = np.hypot(*(np.indices(kernel.shape) - middle))
            # Of radius 8 and more it touches the border, where it is mirrored.
            assert kernel.sum() == pytest.approx(1, abs=1e-12 if radius < 8 else 0.014)
            assert (kernel[distance > max(radius, 1) + 2.9] == 0).all()
            np.testing.assert_allclose(kernel, kernel.T, atol=1e-15)
            np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-15)
            flat = kernel[distance <= radius - 2.9]
            np.testing.assert_allclose(flat, kernel[middle, middle])
    # By hand: 1 pixel, softened by 3 x 3.
    side = math.exp(-1 / (2 * 0.4**2))
    line = np.array([side, 1, side]) / (1 + 2 * side)
    np.testing.assert_allclose(corruptions.disk(0.3, 0.4)[7:10, 7:10], np.outer(line, line))


def test_motion_at_angle_0_is_a_sum_along_the_row() -> None:
    row = np.random.default_rng(0).integers(0, 256, 12, dtype=np.uint8)
    weights = [math.exp(-(i**2) / 8) for i in range(7)]
    expected = [
        sum(w * float(row[min(k + i, 11)]) for i, w in enumerate(weights)) / sum(weights)
        for k in range(12)
    ]
    blurred = corruptions.motion(np.tile(row, (3, 1)), 3, 2, 0)
    np.testing.assert_array_equal(
        blurred, np.tile(np.floor(np.array(expected) + 0.5 / 257), (3, 1))
    )


@pytest.mark.parametrize(
    ("angle", "levels"),
    [
        (0, {(4, 0): 3, (4, 1): 14, (4, 2): 44, (4, 3): 85, (4, 4): 107}),
        (30.5, {(2, 1): 17, (3, 2): 44, (3, 3): 85, (4, 4): 107}),
        (-60.5, {(4, 4): 107, (5, 4): 85, (6, 3): 44, (7, 2): 3, (7, 3): 14}),
        (-100, {(4, 4): 107, (5, 4): 85, (6, 4): 44, (7, 5): 14, (8, 5): 3}),
    ],
)
def test_motion_is_that_of_imagemagick(angle: float, levels: dict[tuple[int, int], int]) -> None:
    """What ImageMagick 6.9.11 makes of a white point in the middle: -motion-blur 2x1.5+ANGLE."""
    image = np.zeros((9, 9), dtype=np.uint8)
    image[4, 4] = 255
    blurred = corruptions.motion(image, 2, 1.5, angle)
    assert {(int(i), int(j)): int(blurred[i, j]) for i, j in np.argwhere(blurred)} == levels


@pytest.mark.parametrize("decay", [3, 1.4])
def test_clouds_go_from_0_to_1_and_tile(decay: float) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 64 * 64 - 1))
    plasma = corruptions.plasma(noise, 64, decay)
    assert (plasma.min(axis=(1, 2)) == 0).all()
    assert (plasma.max(axis=(1, 2)) == 1).all()
    # On a torus there is no seam: across the border it is as smooth as inside.
    roughness = abs(np.diff(plasma, axis=2)).mean()
    assert abs(plasma[:, :, 0] - plasma[:, :, -1]).mean() < 2 * roughness


def test_the_first_elastic_severity_of_cifar_is_affine() -> None:
    columns, rows = np.meshgrid(np.arange(32), np.arange(32))
    ramps = np.stack([4 * columns, 4 * rows, 2 * rows + 2 * columns], axis=2)[None].astype(np.uint8)

    def bend(severity: int) -> int:
        corrupted = corrupt_seeded("elastic_transform", severity, ramps, "cifar")[
            0, 10:22, 10:22
        ].astype(int)
        return max(int(abs(np.diff(corrupted, 2, axis=axis)).max()) for axis in (0, 1))

    assert bend(1) <= 2  # all of it rounding
    assert bend(5) > 4


def test_pixelated_blocks_are_flat_means() -> None:
    pixels = photos(1, 80, 96)
    corrupted = corrupt_seeded("pixelate", 2, pixels, "imagenet")  # to half of each side
    blocks = pixels.reshape(40, 2, 48, 2, 3).transpose(0, 2, 4, 1, 3).reshape(40, 48, 3, 4)
    pixelated_blocks = (
        corrupted.reshape(40, 2, 48, 2, 3).transpose(0, 2, 4, 1, 3).reshape(40, 48, 3, 4)
    )
    assert (pixelated_blocks == pixelated_blocks[..., :1]).all()
    assert abs(pixelated_blocks[..., 0] - blocks.mean(axis=3)).max() <= 1


def test_the_brightest_stay_white_and_black_becomes_grey() -> None:
    pixels = np.zeros((1, 1, 3, 3), dtype=np.uint8)
    pixels[0, 0] = [[0, 0, 0], [200, 100, 0], [255, 255, 255]]
    corrupted = corrupt_seeded("brightness", 5, pixels, "cifar")  # 0.3, 76.5 levels
    assert corrupted.tolist() == [[[[76, 76, 76], [255, 127, 0], [255, 255, 255]]]]


def test_pictures_of_frost_are_the_published_ones_and_large_enough() -> None:
    table = (FROST / "README.md").read_text()
    for k, name in enumerate(TEXTURES):
        md5 = hashlib.md5((FROST / name).read_bytes()).hexdigest()
        assert re.search(rf"\| {re.escape(name)} \| +[\dx ]+\| {md5} \|", table)
        assert (FROST / "LICENSE-APACHE.txt").is_file()
        for thin, height, width in ((1, 224, 224), (1, 400, 1000), (5, 64, 64), (5, 30, 200)):
            picture = corruptions.texture(k, thin, height, width)
            assert picture.shape[0] >= height
            assert picture.shape[1] >= width
