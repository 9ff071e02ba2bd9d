"""Contrastive representation distillation (Tian et al., ICLR 2020, arXiv:1910.10699)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

LAYERS = ("penultimate",)

EPSILON = 1e-7  # in the denominators, as in the authors' code


class CRD(nn.Module):
    """Tells an image's own feature in the other network from those of images of other classes.

    Both networks' features are embedded, which learns with the student, and scored against a
    memory of the other network's embeddings of all training images. The loss is the authors' code's
    (HobbitLong/RepDistiller): noise-contrastive, for the student and the teacher as anchors, its
    constants Z set by the first batch. Negatives are drawn with replacement, which the code does
    only where there are too few. On a mixed image both images are positives, by lambda, negatives
    are of neither's class, and the memory of the image moves by lambda times what it would.

    Args:
        student_shape: of an image's features in the student.
        teacher_shape: of an image's features in the teacher.
        train_index: int64 [n], the positions of the training images in their data set.
        train_label: int64 [n], their classes.
        dim: of the embeddings.
        negatives: how many for each image.
        tau: the scores' own temperature.
        momentum: share of the memory that a step keeps.

    Raises:
        ValueError: if there are fewer than three classes.

    Examples:
        >>> labels = torch.arange(30) % 3
        >>> hint = CRD((16,), (32,), torch.arange(30), labels, negatives=8)
        >>> index = torch.tensor([4, 7])
        >>> student, teacher = torch.rand(2, 16), torch.rand(2, 32)
        >>> hint(student, teacher, index=index, label=labels[index]).shape
        torch.Size([])
    """

    memory_student: Tensor
    memory_teacher: Tensor
    z: Tensor
    row: Tensor
    by_class: Tensor
    first: Tensor
    count: Tensor

    def __init__(
        self, student_shape: Sequence[int], teacher_shape: Sequence[int], train_index: Tensor,
        train_label: Tensor, dim: int = 128, negatives: int = 16384, tau: float = 0.07,
        momentum: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        count = train_label.bincount()
        if (count > 0).sum() < 3:
            raise ValueError("crd draws from classes other than two; takes three classes or more")
        if negatives < 1 or not tau > 0 or not 0 <= momentum < 1:
            got = f"negatives={negatives}, tau={tau}, momentum={momentum}"
            raise ValueError(f"got {got}; takes 1 or more, a number above 0, and one in [0, 1)")
        self.negatives, self.tau, self.momentum = negatives, tau, momentum
        self.embed_student = nn.Linear(math.prod(student_shape), dim)
        self.embed_teacher = nn.Linear(math.prod(teacher_shape), dim)
        bound = math.sqrt(3 / dim)
        for name in ("memory_student", "memory_teacher"):
            memory = torch.empty(len(train_index), dim).uniform_(-bound, bound)
            self.register_buffer(name, memory)
        self.register_buffer("z", torch.full((2,), -1.0))  # not yet known
        row = torch.full((int(train_index.max()) + 2,), -1)  # the last is of all beyond
        row[train_index] = torch.arange(len(train_index))
        order = train_label.argsort(stable=True)
        first = count.cumsum(0) - count
        for name, value in {"row": row, "by_class": order, "first": first, "count": count}.items():
            self.register_buffer(name, value, persistent=False)

    def forward(
        self, student: Tensor, teacher: Tensor, *, index: Tensor, label: Tensor,
        partner_index: Tensor | None = None, partner: Tensor | None = None,
        lam: Tensor | None = None, negative: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the loss in nats, a scalar, and move the memories.

        Args:
            student: features, shape [b, ...].
            teacher: features, shape [b, ...].
            index: int64 [b], the images' positions in their data set.
            label: int64 [b].
            partner_index: int64 [b], of the partners; None: nothing is mixed.
            partner: int64 [b], their labels.
            lam: shape [b], in [0, 1].
            negative: int64 [b, negatives], rows of the memory; None: they are drawn.

        Raises:
            ValueError: if a position is not that of a training image.
        """
        partner_index = index if partner_index is None else partner_index
        partner = label if partner is None else partner
        lam = torch.ones(len(index), device=index.device) if lam is None else lam
        last = len(self.row) - 1
        rows = self.row[torch.stack([index, partner_index]).clamp(-1, last)]
        if int(rows.min()) < 0:
            raise ValueError("crd takes the images' positions, which mixkd's data modules tell")
        negative = self._drawn(label, partner) if negative is None else negative
        embedded = [
            F.normalize(embed(features.flatten(1)))
            for embed, features in ((self.embed_student, student), (self.embed_teacher, teacher))
        ]
        memories = self.memory_teacher, self.memory_student  # an anchor's is the other network's
        scores = [  # of copies, which the backward pass needs as they are
            (anchor @ memory.clone().T / self.tau).exp()
            for anchor, memory in zip(embedded, memories, strict=True)
        ]
        picked = torch.cat([rows[0][:, None], negative], dim=1)
        first = torch.stack([s.detach().gather(1, picked).mean() for s in scores]) * len(
            memories[0]
        )
        self.z.copy_(torch.where(self.z < 0, mean_of_processes(first), self.z))
        loss = sum(
            self._contrast(s / z, rows, lam, negative)
            for s, z in zip(scores, self.z.clone(), strict=True)
        )
        self._move(embedded, rows[0], lam)
        assert isinstance(loss, Tensor)
        return loss

    def _contrast(self, ratio: Tensor, rows: Tensor, lam: Tensor, negative: Tensor) -> Tensor:
        """Return the noise-contrastive loss of anchors whose ratios to all images are [b, n]."""
        noise = negative.shape[1] / ratio.shape[1]
        positives = (ratio.gather(1, row[:, None]).squeeze(1) for row in rows)
        own, others = ((p / (p + noise + EPSILON)).log() for p in positives)
        away = (noise / (ratio.gather(1, negative) + noise + EPSILON)).log().sum(dim=1)
        return -(lam * own + (1 - lam) * others + away).mean()

    def _drawn(self, label: Tensor, partner: Tensor) -> Tensor:
        """Return rows of images of neither class, int64 [b, negatives]."""
        low, high = torch.minimum(label, partner), torch.maximum(label, partner)
        in_low, in_high = self.count[low], self.count[high] * (low != high)
        left = (len(self.by_class) - in_low - in_high)[:, None]
        share = torch.rand(len(label), self.negatives, device=label.device, dtype=torch.float64)
        place = (share * left).long()
        place += in_low[:, None] * (place >= self.first[low][:, None])
        place += in_high[:, None] * (place >= self.first[high][:, None])
        return self.by_class[place]

    @torch.no_grad()
    def _move(self, embedded: Sequence[Tensor], row: Tensor, lam: Tensor) -> None:
        """Move the memories of the images of all processes towards what was embedded now."""
        share = of_all_processes((1 - self.momentum) * lam.to(embedded[0].dtype))[:, None]
        row = of_all_processes(row)
        for memory, now in zip((self.memory_student, self.memory_teacher), embedded, strict=True):
            moved = (1 - share) * memory[row] + share * of_all_processes(now)
            memory[row] = F.normalize(moved)


def of_all_processes(values: Tensor) -> Tensor:
    """Return the values of all processes, one after another, which each holds as many of."""
    if not (distributed.is_initialized() and distributed.get_world_size() > 1):
        return values
    gathered = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(gathered, values.contiguous())
    return torch.cat(gathered)


def mean_of_processes(values: Tensor) -> Tensor:
    """Return the mean over all processes of values of any shape."""
    return of_all_processes(values[None]).mean(dim=0)
