"""Input: images in memory and folders of files, and torchvision's pipeline of one image each."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.io import decode_jpeg, read_file

from experiments.bench.parts import configured, mixed_stream, random_splits
from experiments.bench.timing import Figure, in_turn, ratios, timed
from mixkd.data.batches import make_views, vicinal_batch
from mixkd.data.decode import Files
from mixkd.data.images import Images
from mixkd.data.views import Views
from mixkd.vicinal import mix

SIDE, PAD, BATCH, STEPS = 32, 4, 128, 40
FILES, WIDTH, HEIGHT, RESIZE, CROP = 200, 500, 375, 236, 224


def figures(repeats: int) -> Iterator[Figure]:
    """Yield the speed of images in memory and of JPEG files, and what decoding alone allows."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader's worker
    times = in_memory(repeats)
    yield Figure(
        "crop, flip and mix 32 px images in memory, images per second a core: mixkd / PIL",
        ratios(times["pil"], times["mixkd"]),
        "A batch of bytes is cropped, flipped and mixed by a few operations on all of it, where "
        "the usual Dataset does so with an image at a time.",
        ("at least", 10.0),
    )
    times = from_disk(repeats)
    torch.set_num_threads(threads)
    yield Figure(
        f"JPEG files of {WIDTH} x {HEIGHT}, images per second a core: mixkd / ImageFolder and PIL",
        ratios(times["pil"], times["mixkd"]),
        "The middle square of each is resized, cropped, flipped and made float by both: here by "
        "torchvision's decoder, in bytes as long as can be, and a batch at once at the end.",
        ("at least", 1.5),
    )
    yield Figure(
        "the same: share of mixkd's time that decoding alone takes",
        ratios(times["decoder"], times["mixkd"]),
        "What is not mixkd's to save: the decoder's own time.",
    )


def in_memory(repeats: int) -> dict[str, list[float]]:
    """Return the seconds of `STEPS` mixed batches: `mixkd` and `pil`."""
    splits = random_splits(BATCH * STEPS, SIDE)
    images, cfg = splits.train, configured(f"data.batch_size={BATCH}")
    assert isinstance(images, Images)
    stream, views, rows = (
        mixed_stream(cfg, splits),
        make_views(cfg.data, splits),
        torch.arange(BATCH),
    )

    pixels = images.pixels.permute(0, 2, 3, 1).contiguous().numpy()
    labels = images.labels.tolist()

    class OneEach(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
        change = transforms.Compose(
            [
                transforms.RandomCrop(SIDE, PAD),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, k: int) -> tuple[torch.Tensor, int]:
            return self.change(Image.fromarray(pixels[k])), labels[k]

    def by_mixkd() -> None:
        for step in range(STEPS):
            vicinal_batch(images, stream.plan(0, step), rows, views)

    def by_pil() -> None:
        for view, _ in DataLoader(OneEach(), BATCH, shuffle=True):
            mix(view, view[torch.randperm(BATCH)], torch.rand(BATCH))

    return in_turn({"mixkd": timed(by_mixkd), "pil": timed(by_pil)}, repeats)


def from_disk(repeats: int) -> dict[str, list[float]]:
    """Return the seconds of all files, one thread: `mixkd`, `pil`, and the `decoder` alone."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        paths = [place / "train" / "a" / f"{k}.jpg" for k in range(FILES)]
        paths[0].parent.mkdir(parents=True)
        for path, picture in zip(paths, pictures(FILES), strict=True):
            picture.save(path, quality=90)
        names = np.array([str(path.relative_to(place)).encode() for path in paths])
        change = transforms.Compose(
            [
                transforms.CenterCrop(HEIGHT),
                transforms.Resize(RESIZE),
                transforms.RandomCrop(CROP),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

        files = Files(place, names, RESIZE, summary="")
        folder_of_images = ImageFolder(place / "train", change)
        views = Views((RESIZE, RESIZE), RESIZE, CROP, pad=0)

        def by_mixkd() -> None:
            top, left = torch.randint(0, views.slack + 1, (2, FILES))
            views.training(files.read(np.arange(FILES)), top, left, torch.rand(FILES) < 0.5)

        def by_pil() -> None:
            torch.stack([folder_of_images[k][0] for k in range(FILES)])

        def decoder() -> None:
            for path in paths:
                decode_jpeg(read_file(str(path)))

        works = {"mixkd": timed(by_mixkd), "pil": timed(by_pil), "decoder": timed(decoder)}
        return in_turn(works, repeats)


def pictures(n: int) -> Iterator[Image.Image]:
    """Yield pictures with as much detail at every scale, as photographs have."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(n):
        picture = torch.zeros(1, 3, HEIGHT, WIDTH)
        for scale in (2, 4, 8, 16, 32, 64):
            shape = (1, 3, HEIGHT // scale + 1, WIDTH // scale + 1)
            noise = torch.randn(shape, generator=generator)
            picture += scale**0.5 * F.interpolate(noise, (HEIGHT, WIDTH), mode="bilinear")
        grey = (50 * picture / picture.std() + 128).clamp(0, 255).byte()
        yield Image.fromarray(grey[0].permute(1, 2, 0).numpy())
