"""Numbers that losses compute in: near images, half precision, single images."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd import divergence_of, hint_of
from mixkd.losses.hints.cc import correlation
from mixkd.losses.hints.reviewkd import hierarchical
from mixkd.losses.hints.rkd import rkd


def features(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def angles(student: Tensor, teacher: Tensor) -> Tensor:
    """The angles of RKD from the differences themselves."""

    def cosines(x: Tensor) -> Tensor:
        direction = F.normalize(x[None] - x[:, None], dim=2)
        return direction @ direction.mT

    return F.smooth_l1_loss(cosines(student), cosines(teacher))


def test_angles_of_nearly_equal_images_are_right_in_float32() -> None:
    student, teacher = features(0, 12, 32), features(1, 12, 32)
    student[1] = student[0] + 1e-4 * features(2, 32)
    single = student.clone().requires_grad_()
    value = rkd(single, teacher, distance=0.0, angle=1.0)
    value.backward()
    exact = student.double().requires_grad_()
    expected = angles(exact, teacher.double())
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert single.grad is not None
    assert exact.grad is not None
    assert torch.allclose(single.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)


RELATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sp": hint_of("sp"), "pkt": hint_of("pkt"), "rkd": rkd, "cc": correlation,
}  # fmt: skip
MAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "at": hint_of("at"), "nst": hint_of("nst"), "hcl": hierarchical,
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [*RELATIONS, *MAPS])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    shape = (4, 6) if name in RELATIONS else (4, 6, 4, 4)
    hint = (RELATIONS | MAPS)[name]
    half = [(50 * features(seed, *shape)).to(dtype) for seed in (0, 1)]
    value = hint(*half)
    assert value.dtype == torch.float32
    assert torch.equal(value, hint(*(x.float() for x in half)))
    assert value.isfinite()


@pytest.mark.parametrize("name", RELATIONS)
def test_a_single_image_has_no_relations(name: str) -> None:
    assert RELATIONS[name](features(0, 1, 6), features(1, 1, 6)).isfinite()


@pytest.mark.parametrize("name", ["dkd", "nkd", "wsld"])
def test_a_partner_and_lam_come_together(name: str) -> None:
    logits, label = features(0, 4, 5), torch.tensor([0, 1, 2, 3])
    divergence = divergence_of(name)
    with pytest.raises(ValueError, match="takes both"):
        divergence(logits, logits, temperature=2.0, label=label, partner=label)
    lam = torch.full((4,), 0.5, dtype=torch.float64)
    value = divergence(logits, logits, temperature=2.0, label=label, partner=label, lam=lam)
    assert value.dtype == torch.float32
