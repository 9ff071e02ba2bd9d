"""The vicinal stream: which images are mixed, with what, at each step of training.

Order, crops, flips, lambda and partners of the global batch are a pure function of (stream seed,
epoch, step). Nothing of the network that learns enters, so two runs with one stream see the same
mixed images, and a resumed run sees those it would have seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mixkd.errors import check_that

FLOAT32 = 2.0**-24  # share by which a lambda may be off: 0.36 cuts eight pixels of ten, not seven

# What a random draw is for; part of its seed, so that draws do not depend on one another.
ORDER, STEP = 0, 1
PURPOSES = 2


@dataclass(frozen=True)
class Mixing:
    """Which images are mixed, how two become one, and the law of lambda.

    Of a batch of b images `round(prob * b)` are mixed, exactly so many, drawn at random; the others
    stay as they are, with lambda 1 and themselves as partner. The published code of partial mixup
    (Choi et al., WACV 2023, hchoi71/MIX-KD) draws the unmixed ones with replacement: where 10 % of
    64 images are to be mixed, it mixes 41 %. Partners come from the whole batch, unmixed images
    among them; below prob 1 no image is mixed with itself.

    Attributes:
        lam: `uniform` on [0, 1], `beta` (a, a), or a fixed number in [0, 1].
        a: of Beta(a, a).
        per: `sample`: a lambda for each image; `batch`: one for all.
        kind: `mixup` of all pixels, `cutmix` of a box, or `switch`: one of the two for each batch.
        prob: the share of a batch that is mixed, in (0, 1].
        switch_prob: under `switch`, how likely a batch is one of CutMix, in [0, 1].
        cutmix_a: under `switch`, the a of CutMix's batches; None: that of mixup's. They are timm's
            mixup_alpha and cutmix_alpha, which DeiT's recipe sets to 0.8 and 1.

    Raises:
        ValueError: for a value that is none of these.

    Examples:
        >>> boxes = Mixing("beta", a=0.2, kind="cutmix")
        >>> half_of_each_batch = Mixing("uniform", prob=0.5)
        >>> deit = Mixing("beta", a=0.8, per="batch", kind="switch", cutmix_a=1.0)
    """

    lam: str | float = "uniform"
    a: float = 1.0
    per: str = "sample"
    kind: str = "mixup"
    prob: float = 1.0
    switch_prob: float = 0.5
    cutmix_a: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no image can be mixed by."""
        laws, kinds = ("uniform", "beta"), ("mixup", "cutmix", "switch")
        takes = "uniform, beta, or a number in [0, 1]"
        check_that("lam", self.lam, lambda it: it in laws or 0 <= it <= 1, takes)
        check_that("a", self.a, lambda it: it > 0, "a number above 0")
        check_that("per", self.per, lambda it: it in ("sample", "batch"), "sample or batch")
        check_that("kind", self.kind, lambda it: it in kinds, "mixup, cutmix or switch")
        check_that("prob", self.prob, lambda it: 0 < it <= 1, "a number above 0 and up to 1")
        check_that("switch_prob", self.switch_prob, lambda it: 0 <= it <= 1, "a number in [0, 1]")
        takes = "a number above 0, or None"
        check_that("cutmix_a", self.cutmix_a, lambda it: it is None or it > 0, takes)
        for key, usual, of in self._unused():
            if getattr(self, key) != usual:
                got = f"got {getattr(self, key)}, which changes nothing"
                raise ValueError(f"{key}: {got}: it is of {of}; leave it out")

    def _unused(self) -> Iterator[tuple[str, float | None, str]]:
        """Yield the options that have no effect beside the others, their defaults, and what of."""
        if self.lam != "beta":
            yield "a", 1.0, "lam='beta'"
        if self.kind != "switch":
            yield "switch_prob", 0.5, "kind='switch'"
        if self.kind != "switch" or self.lam != "beta":
            yield "cutmix_a", None, "kind='switch' with lam='beta'"

    def count(self, images: int) -> int:
        """Return how many of so many images are mixed."""
        return round(self.prob * images)


@dataclass(frozen=True)
class Plan:
    """One step of the stream, for the global batch of b images.

    Attributes:
        epoch: from 0.
        step: from 0.
        image: int64 [b], positions in the training images.
        partner: int64 [b], positions in the batch: the image that each is mixed with.
        lam: float32 [b] in [0, 1], the weight of the image; 1 where it is not mixed.
        top: int64 [b], the crop's offset in pixels, in [0, slack].
        left: int64 [b], the same.
        flip: bool [b].
        mixes: whether anything is mixed.
        centre: float32 [b, 2] in [0, 1), the middle (y, x) of the box that CutMix takes from the
            partner; None where the batch is one of mixup.
    """

    epoch: int
    step: int
    image: Tensor
    partner: Tensor
    lam: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor
    mixes: bool
    centre: Tensor | None = None


@dataclass(frozen=True)
class VicinalBatch:
    """What a method learns from: b mixed images, and all that says how they were mixed.

    Attributes:
        mixed: float32 [b, 3, height, width] in [0, 1]: lam * view + (1 - lam) * partner's view, or
            under CutMix a share lam of the view's pixels and the partner's in a box.
        lam: float32 [b].
        label: int64 [b], of the image.
        partner_label: int64 [b], of its partner.
        index: int64 [b], the image's position in the data set.
        partner_index: int64 [b].
        epoch: of the stream, from 0.
        step: from 0.
        row: int64 [b] on the CPU, positions in the global batch.

    Examples:
        >>> from mixkd import Mixing, VicinalStream, vicinal_batches
        >>> images, labels = torch.rand(20, 3, 8, 8), torch.arange(20) % 5
        >>> stream = VicinalStream(20, batch_size=4, seed=0, mixing=Mixing("uniform"))
        >>> batch = next(vicinal_batches(stream, images, labels))
        >>> batch.mixed.shape, batch.lam.shape, batch.label.shape, batch.partner_label.shape
        (torch.Size([4, 3, 8, 8]), torch.Size([4]), torch.Size([4]), torch.Size([4]))
    """

    mixed: Tensor
    lam: Tensor
    label: Tensor
    partner_label: Tensor
    index: Tensor
    partner_index: Tensor
    epoch: int
    step: int
    row: Tensor


class VicinalStream:
    """The stream over n training images.

    Args:
        n: number of training images.
        batch_size: of the global batch; the last partial batch of an epoch is dropped.
        seed: the stream's seed.
        mixing: how images are mixed; None leaves every image as it is.
        slack: pixels that a crop may move along each axis.
        flip: whether half of the views are flipped.
        stage: of the training; stage 1 draws apart from stage 2.
        groups: equal parts of the batch, in order; partners are of one part. One for each process
            where images are read from disk, so that each reads its own alone. The same share of
            each is mixed.

    Raises:
        ValueError: if there are fewer images than a batch holds, groups cannot share it, or of so
            few images none is mixed.

    Examples:
        >>> stream = VicinalStream(n=100, batch_size=32, seed=0, mixing=Mixing("uniform"))
        >>> stream.steps_per_epoch
        3
        >>> plan = stream.plan(epoch=7, step=2)
        >>> plan.image.shape, plan.partner.shape, plan.lam.dtype
        (torch.Size([32]), torch.Size([32]), torch.float32)
        >>> bool((stream.plan(7, 2).lam == plan.lam).all())  # whatever was asked for before
        True
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        mixing: Mixing | None,
        slack: int = 0,
        flip: bool = False,
        stage: int = 2,
        groups: int = 1,
    ) -> None:
        if n < batch_size:
            raise ValueError(f"{n} images do not fill a batch of {batch_size}")
        if batch_size % groups:
            raise ValueError(f"{groups} groups cannot share a batch of {batch_size}")
        if mixing is not None and mixing.prob < 1 and batch_size // groups < 2:
            raise ValueError("prob below 1 takes two images or more: none is mixed with itself")
        if mixing is not None and not mixing.count(batch_size // groups):
            raise ValueError(f"prob={mixing.prob} mixes none of {batch_size // groups} images")
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.mixing, self.slack, self.flip = mixing, slack, flip
        self.stage, self.groups = stage, groups
        self.steps_per_epoch = n // batch_size

    def plan(self, epoch: int, step: int) -> Plan:
        """Return step `step` of epoch `epoch`, both counted from 0."""
        b = self.batch_size
        stage = 0 if self.stage == 2 else PURPOSES
        image = _order(self.seed, ORDER + stage, epoch, self.n)[step * b : (step + 1) * b]
        # Flips are drawn whether they are used or not, mixing last: methods share crops and flips.
        rng = np.random.default_rng([self.seed, STEP + stage, epoch, step])
        offsets = rng.integers(0, self.slack + 1, size=(2, b))
        flip = rng.random(b) < 0.5
        partner, lam, centre = draw_mixing(self.mixing, b, rng, self.groups)
        return Plan(
            epoch,
            step,
            image=torch.from_numpy(image.copy()),
            partner=partner,
            lam=lam,
            top=torch.from_numpy(offsets[0]),
            left=torch.from_numpy(offsets[1]),
            flip=torch.from_numpy(flip & self.flip),
            mixes=self.mixing is not None,
            centre=centre,
        )


def draw_mixing(
    mixing: Mixing | None, b: int, rng: np.random.Generator, groups: int = 1
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return `partner`, `lam` and `centre` of a batch of b images, as a `Plan` has them.

    What `prob` and `switch` ask for is drawn last. So a mixed image has the lambda and the box that
    it has where all are mixed, and a batch of `switch` is that of `mixup` or that of `cutmix`.
    """
    if mixing is None:
        return torch.arange(b), torch.ones(b), None
    rows = np.arange(b).reshape(groups, -1)
    partner = np.concatenate([rng.permutation(group) for group in rows])
    lam = draw_lam(mixing, b, rng)
    centre = None if mixing.kind == "mixup" else rng.random((b, 2))
    if mixing.kind == "switch":
        if rng.random() >= mixing.switch_prob:
            centre = None
        elif mixing.cutmix_a is not None:
            lam = draw_lam(replace(mixing, a=mixing.cutmix_a), b, rng)
    if mixing.prob < 1:
        for group in rows:
            fixed = group[partner[group] == group]  # their own partners: they turn with one another
            if len(fixed) == 1:
                fixed = np.append(fixed, group[group != fixed][:1])
            partner[fixed] = np.roll(partner[fixed], 1)
            unmixed = rng.permutation(group)[mixing.count(len(group)) :]
            partner[unmixed], lam[unmixed] = unmixed, 1
    return (
        torch.from_numpy(partner),
        torch.from_numpy(lam).float(),
        None if centre is None else torch.from_numpy(centre).float(),
    )


def draw_lam(mixing: Mixing, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` mixing weights, float64 in [0, 1], shape [count]."""
    draws = count if mixing.per == "sample" else 1
    if mixing.lam == "uniform":
        lam = rng.random(draws)
    elif mixing.lam == "beta":
        lam = rng.beta(mixing.a, mixing.a, draws)
    else:
        lam = np.full(draws, float(mixing.lam))
    return np.broadcast_to(lam, count).copy()


def mix(view: Tensor, partner_view: Tensor, lam: Tensor) -> Tensor:
    """Return lam * view + (1 - lam) * partner_view.

    Args:
        view: float, shape [b, ...].
        partner_view: the same shape.
        lam: float, shape [b].

    Examples:
        >>> white, black = torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
        >>> mix(white, black, torch.tensor([0.25, 1.0])).mean(dim=(1, 2, 3)).tolist()
        [0.25, 1.0]
    """
    return torch.lerp(partner_view, view, lam.to(view.dtype).view(-1, *[1] * (view.ndim - 1)))


def cutmix(
    view: Tensor, partner_view: Tensor, lam: Tensor, centre: Tensor
) -> tuple[Tensor, Tensor]:
    """Paste a box of the partner's view into each view (CutMix, Yun et al. 2019).

    As in the authors' code, its sides are sqrt(1 - lam) of the image's, in whole pixels: half of
    them, rounded down, lies on each side of the middle, so that odd ones lose a pixel. Then it is
    clipped at the border.

    Args:
        view: float, shape [b, channels, height, width].
        partner_view: the same shape.
        lam: float32, shape [b].
        centre: float32, shape [b, 2], the middle of the box, (y, x) in [0, 1).

    Returns:
        The mixed images, and lambda as it came out: the share of pixels that are the view's own.
    """
    in_box = []
    for axis, size in enumerate(view.shape[-2:]):
        side = ((1 - lam.double() * (1 - FLOAT32)).sqrt() * size).floor()
        half = (side / 2).floor()
        middle = (centre[:, axis] * size).floor()
        pixel = torch.arange(size, device=view.device)
        low, high = (middle - half)[:, None], (middle + half)[:, None]
        in_box.append((pixel >= low) & (pixel < high))
    box = in_box[0][:, :, None] & in_box[1][:, None, :]
    mixed = torch.where(box[:, None], partner_view, view)
    return mixed, 1 - box.float().mean(dim=(1, 2))


@lru_cache(maxsize=2)
def _order(seed: int, purpose: int, epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng([seed, purpose, epoch]).permutation(n)
