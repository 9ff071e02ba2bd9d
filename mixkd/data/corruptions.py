"""The fifteen corruptions of Hendrycks & Dietterich (2019), made here instead of downloaded.

Definitions and parameters are those of their generators of CIFAR-10-C and ImageNet-C; the random
numbers are not, so images agree with the published ones in distribution, not byte for byte.
Every function below takes uint8 pixels [n, h, w, 3], a random generator for each image, and the
parameters of a severity, and returns uint8 [n, h, w, 3]. What becomes of an image never depends
on the others of its batch: random numbers are drawn, and everything is summed, per image.
"""

import io
import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage, sparse

from mixkd.data.corruption_names import CORRUPTIONS, PARAMETERS, Parameters

Draws = Sequence[np.random.Generator]

FROST = Path(__file__).resolve().with_name("frost")
TEXTURES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")

LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue

# Pixels corrupted at a time: a few MB of float64, however large the batch.
CHUNK = 2**18


def parameters_for(height: int, width: int) -> Parameters:
    """Return whose parameters suit images of a size: CIFAR's up to 64 pixels of the longer side."""
    return "cifar" if max(height, width) <= 64 else "imagenet"


def corrupt(
    name: str, severity: int, pixels: np.ndarray, index: np.ndarray, *, seed: int,
    parameters: Parameters,
) -> np.ndarray:  # fmt: skip
    """Return corrupted images: uint8, shape [n, h, w, 3], as `pixels`, which are not modified.

    They depend on the arguments alone, not on the batch that an image comes in.

    Args:
        name: one of CORRUPTIONS.
        severity: from 1 to 5.
        pixels: uint8, shape [n, h, w, 3].
        index: int64, shape [n], the images' positions in the data set, which seed their noise.
        seed: of all images' random numbers.
        parameters: whose severities.

    Raises:
        ValueError: if there is no such corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"no corruption is called {name!r}; there are {', '.join(CORRUPTIONS)}")
    if severity not in range(1, 6):
        raise ValueError(f"severities go from 1 to 5; got {severity}")
    values = PARAMETERS[parameters][name][severity - 1]
    values = values if isinstance(values, tuple) else (values,)
    key = CORRUPTIONS[name].key
    step = max(1, CHUNK // math.prod(pixels.shape[1:3]))
    result = np.empty_like(pixels)
    for start in range(0, len(pixels), step):
        part = slice(start, start + step)
        draws = [np.random.default_rng([seed, key, severity, int(i)]) for i in index[part]]
        result[part] = FUNCTIONS[name](pixels[part], draws, *values)
    return result


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Return grey levels (0 to 255, clipped to that) as uint8, cut off as the published ones are.

    A cut turns rounding noise into a whole grey level: 3 / 255 * 255 may be 2.9999999999999996.
    So what is that close below a level is taken for it. The margin is above float64's noise, and
    below the 1e-4 or so by which decimal parameters miss whole levels.
    """
    return np.floor(values.clip(0, 255) + 1e-9).astype(np.uint8)


def gaussian_noise(pixels: np.ndarray, draws: Draws, scale: float) -> np.ndarray:
    """Add normal noise of standard deviation `scale`, where white is 1."""
    noise = np.stack([rng.normal(scale=scale, size=pixels.shape[1:]) for rng in draws])
    return to_bytes(pixels + 255 * noise)


def shot_noise(pixels: np.ndarray, draws: Draws, photons: float) -> np.ndarray:
    """Draw Poisson counts, of mean `photons` where a channel is full."""
    expected = pixels * (photons / 255)
    counts = np.stack([rng.poisson(x) for rng, x in zip(draws, expected, strict=True)])
    return to_bytes(counts * (255 / photons))


def impulse_noise(pixels: np.ndarray, draws: Draws, amount: float) -> np.ndarray:
    """Set a share `amount` of values, each channel for itself, to 0 or 255 at even odds."""
    uniform = np.stack([rng.random((2, *pixels.shape[1:])) for rng in draws])
    salt = np.where(uniform[:, 1] < 0.5, 255, 0).astype(np.uint8)
    return np.where(uniform[:, 0] < amount, salt, pixels)


def disk(radius: float, softness: float) -> np.ndarray:
    """Return a disk that sums to 1, softened by a small Gaussian: float64, shape [17, 17].

    Above a radius of 8, a whole number then, the shape is [2 radius + 1, 2 radius + 1]. Softness is
    the Gaussian's standard deviation; it has 3 x 3 pixels, or 5 x 5 for a radius above 8. From a
    radius of 8 on the disk touches the array's border, where it is mirrored, as published: it sums
    to 1.01, and brightens images by as much.
    """
    small = radius <= 8
    offsets = np.arange(-8, 9) if small else np.arange(-radius, radius + 1)
    circle = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float64)
    taps = np.exp(-((np.arange(-1, 2) if small else np.arange(-2, 3)) ** 2) / (2 * softness**2))
    taps /= taps.sum()
    rows = ndimage.correlate1d(circle / circle.sum(), taps, axis=0, mode="mirror")
    return np.asarray(ndimage.correlate1d(rows, taps, axis=1, mode="mirror"))


def defocus_blur(pixels: np.ndarray, draws: Draws, radius: float, softness: float) -> np.ndarray:
    """Blur with `disk(radius, softness)`, images mirrored about their outermost pixels."""
    kernel = disk(radius, softness)[None, :, :, None]
    return to_bytes(ndimage.correlate(pixels.astype(np.float64), kernel, mode="mirror"))


def glass_blur(
    pixels: np.ndarray, draws: Draws, sigma: float, reach: float, rounds: float
) -> np.ndarray:
    """Blur, let pixels take the place of others near them, and blur again.

    Args:
        sigma: standard deviation of both blurs, in pixels.
        reach: how far away that other pixel may be along each axis: in [-reach, reach).
        rounds: how many times each pixel is gone over.
    """

    def blurred(images: np.ndarray) -> np.ndarray:
        grey = images.astype(np.float64)
        return to_bytes(ndimage.gaussian_filter(grey, (0, sigma, sigma, 0), mode="nearest"))

    height, width = pixels.shape[1:3]
    images = blurred(pixels)
    flat = images.reshape(len(images), -1, 3)
    for k, rng in enumerate(draws):
        for _ in range(int(rounds)):
            flat[k] = flat[k][scattered(rng, height, width, int(reach))]
    return blurred(images)


def scattered(rng: np.random.Generator, height: int, width: int, reach: int) -> np.ndarray:
    """Return which pixel each pixel takes its value from: flat positions, int64 [height * width].

    The published code goes from the last pixel to the first, borders left out, and assigns
    `x[p], x[q] = x[q], x[p]` with q drawn near p. That is no swap: x[q] and x[p] are views, so p
    takes q's value and q keeps it. It is the first value of a q whose turn is yet to come, or else
    what q took. The latter are chains, which are all followed at once, twice as far at each pass.
    """
    rows = np.arange(height - reach, reach, -1)
    columns = np.arange(width - reach, reach, -1)
    shift = rng.integers(-reach, reach, size=(len(rows), len(columns), 2))  # along x, along y
    at = (rows[:, None] * width + columns).ravel()
    source = np.arange(height * width)
    source[at] += (shift[:, :, 1] * width + shift[:, :, 0]).ravel()
    visited = np.zeros(height * width, dtype=bool)
    visited[at] = True
    positions = np.arange(height * width)
    chained = visited & visited[source] & (source > positions)
    while chained.any():
        source, chained = np.where(chained, source[source], source), chained & chained[source]
    return source


def motion_blur(pixels: np.ndarray, draws: Draws, radius: float, sigma: float) -> np.ndarray:
    """Blur along a line, up to 45 degrees off the horizontal one."""
    images = zip(pixels, draws, strict=True)
    return np.stack([motion(x, radius, sigma, rng.uniform(-45, 45)) for x, rng in images])


def motion(image: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """Return what ImageMagick's motion blur makes of an image.

    Each pixel becomes the mean of 2 radius + 1 pixels that lie on one side of it, the weights half
    a Gaussian. Beyond its borders the image repeats its outermost pixels.

    Args:
        image: uint8, shape [h, w] or [h, w, 3].
        radius: pixels.
        sigma: standard deviation of the Gaussian, in pixels.
        angle: on which side, in degrees clockwise from the right as one looks at the image.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    dx = np.ceil(steps * math.cos(math.radians(angle)) - 0.5).astype(int)
    dy = np.ceil(steps * math.sin(math.radians(angle)) - 0.5).astype(int)
    pad = int(max(abs(dx).max(), abs(dy).max()))
    height, width = image.shape[:2]
    padded = np.pad(image, ((pad, pad), (pad, pad), *[(0, 0)] * (image.ndim - 2)), mode="edge")
    total = np.zeros(image.shape)
    for weight, x, y in zip(weights, dx + pad, dy + pad, strict=True):
        total += weight * padded[y : y + height, x : x + width]
    # ImageMagick rounds to 16 bits, where a grey level is 257, and cuts that off to 8.
    return np.floor(total + 0.5 / 257).astype(np.uint8)


def along_axis(size: int, factor: float) -> sparse.csr_array:
    """Return the matrix [size, size] that magnifies a line by `factor` about its middle.

    As `scipy.ndimage.zoom` with order 1 does, on the middle ceil(size / factor) pixels: the line
    runs from centre to centre of the outermost of these, and what is too many is cut off.
    """
    crop = math.ceil(size / factor)
    first = (size - crop) // 2
    full = round(crop * factor)
    at = (np.arange(size) + (full - size) // 2) * ((crop - 1) / max(full - 1, 1))
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, crop - 1)
    weight = at - low
    rows = np.tile(np.arange(size), 2)
    columns = first + np.concatenate([low, high])
    values = np.concatenate([1 - weight, weight])
    return sparse.csr_array((values, (rows, columns)), shape=(size, size))


@lru_cache(8)  # tens of MB each at 224 pixels
def magnifier(height: int, width: int, factors: tuple[float, ...]) -> sparse.csr_array:
    """Return the matrix [h * w, h * w] that magnifies images by each of `factors`, and adds up.

    A batch then takes one sparse product, several times as fast as magnifying by each factor.
    """
    matrices = (
        sparse.kron(along_axis(height, f), along_axis(width, f), format="csr") for f in factors
    )
    return sum(matrices, start=sparse.csr_array((height * width, height * width)))


def magnified(grey: np.ndarray, factors: tuple[float, ...]) -> np.ndarray:
    """Return the sum over factors of images [n, h, w, channels], each magnified: float64."""
    n, height, width, channels = grey.shape
    columns = grey.transpose(1, 2, 0, 3).reshape(height * width, n * channels)
    total = magnifier(height, width, factors) @ columns.astype(np.float64)
    return np.asarray(total.reshape(height, width, n, channels).transpose(2, 0, 1, 3))


def zoom_blur(pixels: np.ndarray, draws: Draws, stop: float, step: float) -> np.ndarray:
    """Average the image and its magnifications from 1 to `stop` in steps of `step`."""
    # Rounding lets arange reach `stop` itself in places; so it did in the published code.
    factors = tuple(np.arange(1, stop, step).tolist())
    return to_bytes((pixels + magnified(pixels, factors)) / (len(factors) + 1))


def snow(
    pixels: np.ndarray, draws: Draws, mean: float, scale: float, zoom: float, threshold: float,
    radius: float, sigma: float, keep: float,
) -> np.ndarray:  # fmt: skip
    """Whiten the image and add flakes: magnified noise above a threshold, blurred as if falling.

    Args:
        mean: of the normal noise that flakes are made of; `scale` is its standard deviation.
        zoom: how much the noise is magnified.
        threshold: below it there is no flake.
        radius: of the flakes' motion blur, as is `sigma`.
        keep: weight of the image against its whitened self.
    """
    noise = np.stack([rng.normal(mean, scale, pixels.shape[1:3]) for rng in draws])
    layer = magnified(noise[..., None], (zoom,))[..., 0]
    layer = to_bytes(np.where(layer < threshold, 0, layer) * 255)
    layers = zip(layer, draws, strict=True)
    flakes = [motion(x, radius, sigma, rng.uniform(-135, -45)) for x, rng in layers]
    falling = np.stack(flakes).astype(np.float64)[..., None]
    red, green, blue = (LUMA[k] * pixels[..., k] for k in range(3))
    white = np.maximum(pixels, (red + green + blue)[..., None] * 1.5 + 127.5)
    return to_bytes(keep * pixels + (1 - keep) * white + falling + falling[:, ::-1, ::-1])


def frost(pixels: np.ndarray, draws: Draws, keep: float, ice: float, thin: float) -> np.ndarray:
    """Lay a random piece of a picture of frost over the image, of weights `ice` and `keep`.

    One in `thin` pixels of the picture is taken along each axis; CIFAR's pictures are published as
    resized by 0.2, which is that of 5.
    """
    height, width = pixels.shape[1:3]
    pieces = np.empty_like(pixels)
    for piece, rng in zip(pieces, draws, strict=True):
        picture = texture(int(rng.integers(len(TEXTURES))), int(thin), height, width)
        # The last position is never drawn, as published, unless it is the only one.
        top = rng.integers(max(picture.shape[0] - height, 1))
        left = rng.integers(max(picture.shape[1] - width, 1))
        piece[:] = picture[top : top + height, left : left + width]
    return to_bytes(keep * pixels + ice * pieces)


@cache
def texture(number: int, thin: int, height: int, width: int) -> np.ndarray:
    """Return one of TEXTURES, uint8, enlarged if a piece of `height` x `width` would not fit in."""
    # OpenCV's bilinear resizing by 0.2, as published, samples at 5 k + 2 exactly; so do slices.
    with Image.open(FROST / TEXTURES[number], formats=["JPEG", "PNG"]) as file:
        picture = np.asarray(file.convert("RGB"))[thin // 2 :: thin, thin // 2 :: thin]
    scale = max(height / picture.shape[0], width / picture.shape[1])
    if scale <= 1:
        return picture
    size = (math.ceil(picture.shape[1] * scale), math.ceil(picture.shape[0] * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def fog(pixels: np.ndarray, draws: Draws, density: float, decay: float) -> np.ndarray:
    """Add clouds and scale the image back to the brightness that it had.

    Args:
        density: the most that is added, where white is 1.
        decay: how much flatter the clouds are at each finer scale: the larger, the smoother.
    """
    height, width = pixels.shape[1:3]
    size = 1 << (max(height, width) - 1).bit_length()
    noise = np.stack([rng.uniform(-1, 1, size * size - 1) for rng in draws])
    clouds = plasma(noise, size, decay)[:, :height, :width, None]
    brightest = pixels.max(axis=(1, 2, 3), keepdims=True) / 255
    return to_bytes((pixels + 255 * density * clouds) * brightest / (brightest + density))


def plasma(noise: np.ndarray, size: int, decay: float) -> np.ndarray:
    """Return clouds by the diamond-square algorithm, on a torus: float64 [n, size, size], 0 to 1.

    Args:
        noise: float64, shape [n, size * size - 1], in [-1, 1].
        size: a power of 2.
        decay: by how much the noise's range falls each time that the grid becomes twice as fine.
            Its height is the square of the range, as published.
    """
    clouds = np.zeros((len(noise), size, size))
    spread, step, used = 100.0, size, 0

    def level(*corners: np.ndarray) -> np.ndarray:
        """Return the mean of four grids, and the next noise added to it."""
        nonlocal used
        wobble = noise[:, used : used + corners[0][0].size].reshape(corners[0].shape)
        used += corners[0][0].size
        return np.asarray(np.add.reduce(corners) / 4 + spread**2 * wobble)

    while step >= 2:
        half = step // 2
        corner = clouds[:, ::step, ::step]
        below, right = np.roll(corner, -1, 1), np.roll(corner, -1, 2)
        centre = level(corner, below, right, np.roll(below, -1, 2))
        clouds[:, half::step, half::step] = centre
        clouds[:, ::step, half::step] = level(centre, np.roll(centre, 1, 1), corner, right)
        clouds[:, half::step, ::step] = level(centre, np.roll(centre, 1, 2), corner, below)
        step, spread = half, spread / decay
    clouds -= clouds.min(axis=(1, 2), keepdims=True)
    return np.asarray(clouds / clouds.max(axis=(1, 2), keepdims=True))


def brightness(pixels: np.ndarray, draws: Draws, shift: float) -> np.ndarray:
    """Add `shift` to the V of HSV, the largest channel, at most up to white; black becomes grey."""
    value = pixels.max(axis=3, keepdims=True).astype(np.float64)
    raised = np.minimum(value + 255 * shift, 255)
    return to_bytes(np.where(value > 0, pixels * (raised / np.maximum(value, 1)), raised))


def contrast(pixels: np.ndarray, draws: Draws, factor: float) -> np.ndarray:
    """Multiply each channel's distance from its mean over the image by `factor`."""
    # Sums of integers are exact, in whatever order.
    mean = pixels.sum(axis=(1, 2), keepdims=True, dtype=np.int64) / math.prod(pixels.shape[1:3])
    return to_bytes((pixels - mean) * factor + mean)


def elastic_transform(
    pixels: np.ndarray, draws: Draws, strength: float, sigma: float, shift: float
) -> np.ndarray:
    """Map the image by a random affine map, then move every pixel along a smooth random field.

    Args:
        strength: what the field is multiplied by, in pixels.
        sigma: standard deviation of the Gaussian that smooths it, in pixels; 0: not smoothed.
        shift: how far the affine map moves each of three points, at most, along each axis; pixels.
    """
    height, width = pixels.shape[1:3]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    smooth_y, smooth_x = smoother(height, sigma), smoother(width, sigma)
    corners = np.array([[1, 1], [1, -1], [-1, -1]]) * (min(height, width) // 3)
    corners += [width // 2, height // 2]
    result = np.empty(pixels.shape)
    for image, grey, rng in zip(result, pixels.astype(np.float64), draws, strict=True):
        moved = corners + rng.uniform(-shift, shift, (3, 2))
        # What lies at `corners` goes to `moved`: each pixel is looked up by the inverse map.
        a, b, c = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners)
        dx, dy = (strength * (smooth_y @ u @ smooth_x.T) for u in rng.uniform(-1, 1, (2, *x.shape)))
        for k in range(3):
            at = (x * a[1] + y * b[1] + c[1], x * a[0] + y * b[0] + c[0])
            affine = ndimage.map_coordinates(grey[..., k], at, order=1, mode="mirror")
            at = (y + dy, x + dx)
            image[..., k] = ndimage.map_coordinates(affine, at, order=1, mode="reflect")
    return to_bytes(result)


@cache
def smoother(size: int, sigma: float) -> np.ndarray:
    """Return the Gaussian filter of a line, its ends reflected, as a matrix [size, size].

    Two matrix products are many times as fast as a filter of more taps than the line has pixels.
    """
    # Not gaussian_filter1d: it does not take a sigma of 0.
    return np.asarray(ndimage.gaussian_filter(np.eye(size), (sigma, 0), mode="reflect", truncate=3))


def pixelate(pixels: np.ndarray, draws: Draws, factor: float) -> np.ndarray:
    """Shrink to `factor` of each side and enlarge again, both with a box filter."""
    height, width = pixels.shape[1:3]
    small = (max(1, int(width * factor)), max(1, int(height * factor)))
    box = Image.Resampling.BOX
    images = (Image.fromarray(x).resize(small, box).resize((width, height), box) for x in pixels)
    return np.stack([np.asarray(x) for x in images])


def jpeg_compression(pixels: np.ndarray, draws: Draws, quality: float) -> np.ndarray:
    """Compress as JPEG of a `quality`, and decode."""
    result = np.empty_like(pixels)
    for k, image in enumerate(pixels):
        with io.BytesIO() as file:
            Image.fromarray(image).save(file, "JPEG", quality=int(quality))
            result[k] = np.asarray(Image.open(file, formats=["JPEG"]))
    return result


FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (
        gaussian_noise, shot_noise, impulse_noise,
        defocus_blur, glass_blur, motion_blur, zoom_blur,
        snow, frost, fog, brightness,
        contrast, elastic_transform, pixelate, jpeg_compression,
    )
}  # fmt: skip
