"""Hints give what the published codes gave."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixkd.losses.hints.at import at
from mixkd.losses.hints.cc import CC, correlation
from mixkd.losses.hints.crd import CRD
from mixkd.losses.hints.fitnet import FitNet
from mixkd.losses.hints.nst import nst
from mixkd.losses.hints.pkt import pkt
from mixkd.losses.hints.reviewkd import Fusion, ReviewKD, hierarchical
from mixkd.losses.hints.rkd import rkd
from mixkd.losses.hints.simkd import SimKD
from mixkd.losses.hints.sp import sp
from mixkd.losses.hints.vid import VID
from tests.losses.published import LOSSES, assert_published, filled, filling, inputs

Loss = Callable[[Tensor, Tensor], Tensor]
POOLS, MAP1, MAP2 = ("s_pool", "t_pool"), ("s_map1", "t_map1"), ("s_map2", "t_map2")
MAP1_MAP2, SAME = ("s_map1", "t_map2"), ("s_pool", "t_pool_same")
SHAPES = (64, 8, 8), (256, 8, 8), (512, 4, 4)

# Of a case the features, and what makes the loss.
CASES: dict[str, tuple[tuple[str, str], Callable[[], Loss]]] = {
    "at_map1": (MAP1, lambda: at),
    "at_map2": (MAP2, lambda: at),
    "at_map1_map2": (MAP1_MAP2, lambda: at),
    "sp_map1": (MAP1, lambda: sp),
    "sp_map2": (MAP2, lambda: sp),
    "sp_pool": (POOLS, lambda: sp),
    "rkd_distance": (POOLS, lambda: partial(rkd, distance=1.0, angle=0.0)),
    "rkd_angle": (POOLS, lambda: partial(rkd, distance=0.0, angle=1.0)),
    "rkd_total_25_50": (POOLS, lambda: rkd),
    "cc_repdistiller_pool": (SAME, lambda: correlation),
    "cc_torchdistill_gaussian": (SAME, lambda: partial(correlation, kernel="gaussian")),
    "cc_torchdistill_bilinear": (SAME, lambda: partial(correlation, kernel="bilinear")),
    "pkt_pool": (POOLS, lambda: pkt),
    "nst_map1": (MAP1, lambda: nst),
    "nst_map2": (MAP2, lambda: nst),
    "vid_map1_logscale_filled": (MAP1, lambda: filled(VID(SHAPES[0], SHAPES[1]))),
    "vid_map1_logscale_init": (MAP1, lambda: filled(VID(SHAPES[0], SHAPES[1]), "log_scale")),
    "vid_map1_map2_logscale_filled": (MAP1_MAP2, lambda: filled(VID(SHAPES[0], SHAPES[2]))),
    "simkd_map1": (MAP1, lambda: filled(SimKD(SHAPES[0], SHAPES[1]))),
    "hint_convreg_same_size": (MAP1, lambda: filled(FitNet(SHAPES[0], SHAPES[1]))),
    "hint_convreg_half_size": (MAP1_MAP2, lambda: filled(FitNet(SHAPES[0], SHAPES[2]))),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hint_is_the_published_one(name: str) -> None:
    features, make = CASES[name]
    # VID's first variance is a float32 number here, as parameters are.
    rel = 1e-7 if name == "vid_map1_logscale_init" else 1e-9
    assert_published(name, make(), *inputs(*features), rel=rel)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("vid_map1_logs")])
def test_float32_is_near(name: str) -> None:
    (student, teacher), loss = inputs(*CASES[name][0]), CASES[name][1]()
    whole = loss(student, teacher).item()
    loss = loss.float() if isinstance(loss, nn.Module) else loss
    value = loss(student.float(), teacher.float())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(whole, rel=1e-4)


def test_rkd_has_the_published_value_and_a_small_gradient_where_features_are_the_same() -> None:
    """The code divides by the root of 1e-12 there: its gradient has a norm of 5.8e10."""
    student, teacher = inputs("s_pool_dup", "t_pool")
    student.requires_grad_()
    value = rkd(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(
        LOSSES["rkd_total_25_50_duplicate_rows"]["value"], rel=1e-7
    )
    assert student.grad is not None
    assert student.grad.norm() < 1


def test_reviewkds_comparison_is_the_published_one() -> None:
    deeper, *teachers = inputs("s_map2", "t_map1_same", "t_map2_same")

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        return hierarchical(student, teacher) + hierarchical(deeper, teachers[1])

    assert_published("reviewkd_hcl", loss, *inputs("s_map1"), teachers[0])


def test_reviewkd_compares_fusions_of_what_is_deeper() -> None:
    """Two maps, written out; dvlab-research/ReviewKD has no numbers of its own here."""
    shapes = [(4, 8, 8), (6, 4, 4)], [(10, 8, 8), (12, 4, 4)]
    hint = ReviewKD(*shapes)
    filled(hint)
    (s1, s2), (t1, t2) = ([filling(torch.Size((3, *shape)), k) for k, shape in enumerate(of_one)]
                          for of_one in shapes)  # fmt: skip
    shallow, deep = hint.fusions
    assert isinstance(shallow, Fusion)
    assert isinstance(deep, Fusion)
    assert deep.attention is None
    assert shallow.attention is not None
    below = deep.conv1(s2)
    own, above = shallow.conv1(s1), F.interpolate(below, (8, 8), mode="nearest")
    weight = torch.sigmoid(shallow.attention(torch.cat([own, above], dim=1)))
    fused = own * weight[:, 0:1] + above * weight[:, 1:2]
    expected = hierarchical(shallow.conv2(fused), t1) + hierarchical(deep.conv2(below), t2)
    assert hint([s1, s2], [t1, t2]).item() == pytest.approx(expected.item(), rel=1e-12)


def crd_of_code() -> CRD:
    """Return CRD as the code had it: 50 images of 5 classes, 20 negatives, 16 dimensions."""
    index = torch.arange(50)
    hint = CRD((64,), (256,), index, index % 5, dim=16, negatives=20).double()
    held = ("embed_s_weight", "embed_s_bias", "embed_t_weight", "embed_t_bias", "memory_v1",
            "memory_v2")  # fmt: skip
    tensors = (hint.embed_student.weight, hint.embed_student.bias, hint.embed_teacher.weight,
               hint.embed_teacher.bias, hint.memory_student, hint.memory_teacher)  # fmt: skip
    with torch.no_grad():
        for tensor, value in zip(tensors, inputs(*(f"crd_{name}" for name in held)), strict=True):
            tensor.copy_(value)
    return hint


def test_crd_is_the_published_one_in_two_steps() -> None:
    hint = crd_of_code()

    def step(number: int) -> Loss:
        index, contrast = inputs(f"crd_idx{number}", f"crd_contrast_idx{number}")
        negative = contrast[:, 1:]  # the first is the image itself
        return partial(hint, index=index, label=index % 5, negative=negative)

    assert_published("crd_call1", step(1), *inputs(*POOLS))
    assert hint.z.tolist() == pytest.approx([9755.49907425637, 6696.814843717057], rel=1e-7)
    assert_published("crd_call2", step(2), *inputs(*POOLS))
    assert hint.z.tolist() == pytest.approx([9755.49907425637, 6696.814843717057], rel=1e-7)
    for memory, name in ((hint.memory_student, "memory_v1"), (hint.memory_teacher, "memory_v2")):
        along = (memory * filling(memory.shape)).sum().item()
        assert [memory.norm().item(), along] == pytest.approx(LOSSES["crd_call2"][name], rel=1e-7)


@pytest.mark.parametrize("kernel", ["consecutive", "gaussian", "bilinear"])
def test_cc_embeds_both_and_compares_the_embeddings(kernel: str) -> None:
    hint, (student, teacher) = filled(CC((64,), (256,), dim=7, kernel=kernel)), inputs(*POOLS)  # type: ignore[arg-type]
    embedded = [F.linear(x, *embed.parameters()) for x, embed in
                ((student, hint.embed_student), (teacher, hint.embed_teacher))]  # type: ignore[union-attr, operator, arg-type]  # fmt: skip
    expected = correlation(*embedded, kernel=kernel)  # type: ignore[arg-type]
    assert hint(student, teacher).item() == pytest.approx(expected.item(), rel=1e-12)


def test_every_number_is_used() -> None:
    others = {"rkd_total_25_50_duplicate_rows", "reviewkd_hcl", "crd_call1", "crd_call2"}
    assert {key for key in LOSSES if not key.startswith(("c100", "c10x20"))} == {*CASES} | others
