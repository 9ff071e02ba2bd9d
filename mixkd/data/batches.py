"""Batches on the device: vicinal ones for training, images and pairs as they are for measuring."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mixkd.config.data import DataConfig
from mixkd.config.training import MixConfig
from mixkd.data.images import AnyImages, Images
from mixkd.data.splits import Splits
from mixkd.data.views import Views, to_unit
from mixkd.errors import UserError
from mixkd.vicinal import Mixing, Plan, VicinalBatch, VicinalStream, cutmix, draw_mixing, mix


@dataclass(frozen=True)
class EvaluationBatch:
    """Views as they are: float32 [b, 3, h, w] in [0, 1]; int64 labels and positions, [b]."""

    view: Tensor
    label: Tensor
    index: Tensor


@dataclass(frozen=True)
class PairBatch:
    """Views of pairs as they are: float32 [b, 3, h, w] each; int64 positions of the pairs, [b]."""

    first: Tensor
    second: Tensor
    position: Tensor


# Rows of a batch: int64 positions, or a slice, which takes them without a copy.
Rows = Tensor | slice


def needed_rows(plan: Plan, rows: Tensor) -> tuple[Rows, Rows, Tensor]:
    """Return the rows of a batch that `rows` and their partners are, each once.

    And where among them each of `rows`, int64 [b] in order, and each partner is.
    """
    if len(rows) == len(plan.image):
        return slice(None), slice(None), plan.partner
    needed, where = torch.unique(torch.cat([rows, plan.partner[rows]]), return_inverse=True)
    return needed, *where.chunk(2)


def vicinal_batch(
    images: AnyImages, plan: Plan, rows: Tensor, views: Views, pixels: Tensor | None = None
) -> VicinalBatch:
    """Return the rows of a planned batch that this process takes: int64 [b], in order, on the CPU.

    `pixels`, uint8, are those of `needed_rows`, where images stay on disk.
    """
    sent = partial(_sent, device=images.labels.device)
    # A partner may be another process's row: make each view that is needed, once.
    needed, kept, partner = needed_rows(plan, rows)
    drawn = kept if isinstance(kept, slice) else rows  # the rows in the plan
    kept, partner = kept if isinstance(kept, slice) else sent(kept), sent(partner)
    image, top, left, flip = (sent(x[needed]) for x in (plan.image, plan.top, plan.left, plan.flip))
    if pixels is None:
        assert isinstance(images, Images)
        pixels = images.pixels.index_select(0, image)
    view = views.training(pixels, top, left, flip)
    label, index = images.labels[image], images.index[image]
    lam, mixed = sent(plan.lam[drawn]), view[kept]
    if plan.mixes:
        centre = None if plan.centre is None else sent(plan.centre[drawn])
        mixed, lam = _mixed(mixed, view.index_select(0, partner), lam, centre)
    return VicinalBatch(
        mixed, lam, label[kept], label[partner], index[kept], index[partner],
        plan.epoch, plan.step, rows,
    )  # fmt: skip


def _mixed(
    view: Tensor, partner_view: Tensor, lam: Tensor, centre: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return mixed images, and lambda as it came out; boxes are pasted where they have a centre."""
    if centre is None:
        return mix(view, partner_view, lam), lam
    return cutmix(view, partner_view, lam, centre)


def _sent(x: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU's on a device, without waiting for it."""
    return x if device.type == "cpu" else x.pin_memory().to(device, non_blocking=True)


def ordinary_batch(
    images: Tensor,
    label: Tensor,
    mixing: Mixing | None,
    *,
    seed: int,
    epoch: int,
    step: int,
    rank: int = 0,
) -> VicinalBatch:
    """Return an ordinary batch mixed within itself: lambda and partners follow from the numbers.

    Args:
        images: floats, shape [b, channels, height, width]; bytes become floats in [0, 1].
        label: integers, shape [b].
        mixing: how images are mixed; None: not at all.
        seed: of the mixing.
        epoch: from 0.
        step: from 0.
        rank: of the process, from 0.

    Returns:
        The positions in the data set are -1: they are not known.

    Raises:
        ValueError: if there is not a label for each image.

    Examples:
        >>> images, label = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
        >>> batch = ordinary_batch(images, label, Mixing("uniform"), seed=0, epoch=2, step=5)
        >>> batch.mixed.shape, batch.lam.shape, batch.partner_label.shape
        (torch.Size([4, 3, 8, 8]), torch.Size([4]), torch.Size([4]))
    """
    if images.ndim != 4 or label.shape != images.shape[:1] or label.is_floating_point():
        got = f"images {list(images.shape)} and labels {label.dtype} {list(label.shape)}"
        raise ValueError(f"got {got}; takes [b, channels, height, width] and int64 [b]")
    view, label, count = to_unit(images), label.long(), len(images)
    row, unknown = torch.arange(count), torch.full_like(label, -1)
    if mixing is None:
        lam = torch.ones(count, device=images.device)
        return VicinalBatch(view, lam, label, label, unknown, unknown, epoch, step, row)
    rng = np.random.default_rng([seed, epoch, step, rank])
    partner, lam, centre = draw_mixing(mixing, count, rng)
    partner, lam = _sent(partner, view.device), _sent(lam, view.device)
    centre = None if centre is None else _sent(centre, view.device)
    mixed, lam = _mixed(view, view[partner], lam, centre)
    return VicinalBatch(mixed, lam, label, label[partner], unknown, unknown, epoch, step, row)


def vicinal_batches(
    stream: VicinalStream, images: Tensor, label: Tensor, epoch: int = 0
) -> Iterator[VicinalBatch]:
    """Yield an epoch of a stream over images in memory, on their device.

    Args:
        stream: over as many images. Its slack is padding, half of it on each side.
        images: float32 in [0, 1] or uint8, shape [n, 3, height, width].
        label: int64, shape [n].
        epoch: from 0; each has an order and mixtures of its own.

    Raises:
        ValueError: if there are not as many images as the stream is over, or its slack is odd, or
            they have other shapes.

    Examples:
        >>> images, label = torch.rand(100, 3, 8, 8), torch.arange(100) % 10
        >>> stream = VicinalStream(100, 32, seed=0, mixing=Mixing("uniform"), slack=4, flip=True)
        >>> for batch in vicinal_batches(stream, images, label, epoch=1):
        ...     print(batch.step, batch.mixed.shape)
        0 torch.Size([32, 3, 8, 8])
        1 torch.Size([32, 3, 8, 8])
        2 torch.Size([32, 3, 8, 8])
    """
    if images.ndim != 4 or label.ndim != 1 or label.is_floating_point():
        raise ValueError(
            f"got images {list(images.shape)} and labels {label.dtype} {list(label.shape)}; takes "
            "[n, 3, height, width] and int64 [n]"
        )
    if epoch < 0:
        raise ValueError(f"got epoch {epoch}; takes 0 or more")
    if not len(images) == len(label) == stream.n:
        raise ValueError(f"{len(images)} images, {len(label)} labels, a stream over {stream.n}")
    if stream.slack % 2:
        raise ValueError(f"a slack of {stream.slack} cannot be shared by two sides")
    stored = Images(images, label, torch.arange(stream.n, device=label.device))
    views = Views(stored.stored, resize=None, size=None, pad=stream.slack // 2)
    rows = torch.arange(stream.batch_size)
    for step in range(stream.steps_per_epoch):
        yield vicinal_batch(stored, stream.plan(epoch, step), rows, views)


def make_views(cfg: DataConfig, splits: Splits) -> Views:
    """Return how images become views as configured."""
    return Views(splits.test.stored, cfg.resize, cfg.size, cfg.pad)


def mixing_of(mix: MixConfig | Mixing | None) -> Mixing | None:
    """Return how images are mixed as configured."""
    if mix is None or isinstance(mix, Mixing):
        return mix
    return Mixing(**mix.model_dump())


def make_stream(
    cfg: DataConfig, splits: Splits, mix: MixConfig | Mixing | None, seed: int, *, devices: int = 1,
    stage: int = 2,
) -> VicinalStream:  # fmt: skip
    """Return the vicinal stream over the training images.

    Images on disk are mixed within each of `devices` processes.

    Raises:
        UserError: if a batch is larger than the training set, the processes cannot share it, or too
            small a share of it is mixed.
    """
    n = len(splits.train)
    if cfg.batch_size % devices:
        text = f"got {cfg.batch_size}, which {devices} devices cannot share equally"
        raise UserError.of("data.batch_size", f"{text}; takes a multiple of {devices}")
    if cfg.batch_size > n:
        text = f"got {cfg.batch_size}; takes at most the {n} training images"
        raise UserError.of("data.batch_size", text)
    groups = 1 if isinstance(splits.train, Images) else devices
    mixing, share = mixing_of(mix), cfg.batch_size // groups
    if mixing is not None and not mixing.count(share):
        text = f"got {mixing.prob}, which mixes none of {share} images; takes a larger share"
        raise UserError.of("method.mix.prob", text)
    return VicinalStream(
        n, cfg.batch_size, seed, mixing, slack=make_views(cfg, splits).slack, flip=cfg.flip,
        stage=stage, groups=groups,
    )  # fmt: skip
