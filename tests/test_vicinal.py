from typing import Any

import numpy as np
import pytest
import torch

from mixkd.data.batches import vicinal_batch
from mixkd.data.images import Images
from mixkd.data.views import Views
from mixkd.vicinal import STEP, Mixing, Plan, VicinalStream, cutmix, draw_lam, mix

UNIFORM = Mixing("uniform")
VIEWS = Views((6, 6), resize=None, size=None, pad=2)


def stream(
    seed: int = 0, mixing: Mixing | None = UNIFORM, n: int = 50, groups: int = 1
) -> VicinalStream:
    return VicinalStream(n, 8, seed, mixing, slack=4, flip=True, groups=groups)


def are_same(a: Plan, b: Plan) -> bool:
    """Return whether what is drawn is the same, wherever in the stream."""
    drawn = [
        {k: v for k, v in vars(p).items() if k not in ("epoch", "step", "mixes")} for p in (a, b)
    ]
    return all(
        x is y if x is None else torch.equal(x, y)
        for x, y in zip(*(d.values() for d in drawn), strict=True)
    )


def images(n: int = 50) -> Images:
    pixels = torch.randint(0, 256, (n, 3, 6, 6), dtype=torch.uint8)
    return Images(pixels, torch.arange(n) % 5, torch.arange(n) + 1000)


def test_a_plan_is_a_pure_function_of_seed_epoch_and_step() -> None:
    one, other = stream(), stream()
    other.plan(3, 1)  # what was asked before does not matter
    assert are_same(one.plan(1, 2), other.plan(1, 2))
    assert not are_same(one.plan(1, 2), one.plan(1, 3))
    assert not are_same(one.plan(1, 2), one.plan(2, 2))
    assert not are_same(one.plan(1, 2), stream(seed=1).plan(1, 2))


def test_an_epoch_holds_each_image_at_most_once_and_drops_the_last_partial_batch() -> None:
    s = stream()
    indices = torch.cat([s.plan(0, k).image for k in range(s.steps_per_epoch)])
    assert s.steps_per_epoch == 6
    assert len(indices.unique()) == len(indices) == 48
    assert indices.max() < 50


def test_partners_are_a_permutation_of_the_batch() -> None:
    assert stream().plan(0, 0).partner.sort().values.tolist() == list(range(8))


def test_methods_share_order_crops_and_flips() -> None:
    mixed, plain = stream().plan(2, 3), stream(mixing=None).plan(2, 3)
    for name in ("image", "top", "left", "flip"):
        assert torch.equal(getattr(mixed, name), getattr(plain, name)), name
    assert plain.lam.tolist() == [1.0] * 8
    assert plain.partner.tolist() == list(range(8))


def test_offsets_cover_the_slack_and_flips_are_even() -> None:
    plans = [stream().plan(e, k) for e in range(40) for k in range(6)]
    top = torch.cat([p.top for p in plans])
    assert sorted(top.unique().tolist()) == [0, 1, 2, 3, 4]
    flips = torch.cat([p.flip for p in plans]).float().mean().item()
    assert flips == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    ("mixing", "mean", "variance"),
    [
        (Mixing("uniform"), 1 / 2, 1 / 12),
        (Mixing("beta", a=0.2), 1 / 2, 1 / (4 * 1.4)),  # Beta(a, a): 1 / (4 (2a + 1))
        (Mixing("beta", a=3.0), 1 / 2, 1 / 28),
        (Mixing(0.3), 0.3, 0.0),
    ],
)
def test_lambda_has_the_moments_of_its_distribution(
    mixing: Mixing, mean: float, variance: float
) -> None:
    lam = draw_lam(mixing, 200_000, np.random.default_rng(0))
    assert lam.min() >= 0
    assert lam.max() <= 1
    assert lam.mean() == pytest.approx(mean, abs=0.004)
    assert lam.var() == pytest.approx(variance, abs=0.002)


def test_lambda_per_batch_is_one_number() -> None:
    lam = stream(mixing=Mixing("uniform", per="batch")).plan(0, 0).lam
    assert len(lam.unique()) == 1
    assert len(stream().plan(0, 0).lam.unique()) == 8


def test_mixing_is_linear_in_pixels() -> None:
    a, b, lam = torch.rand(4, 3, 5, 5), torch.rand(4, 3, 5, 5), torch.tensor([0.0, 0.25, 0.5, 1.0])
    weight = lam[:, None, None, None]
    torch.testing.assert_close(mix(a, b, lam), weight * a + (1 - weight) * b)
    assert torch.equal(mix(a, b, lam)[0], b[0])
    assert torch.equal(mix(a, b, lam)[3], a[3])


def test_a_vicinal_batch_is_what_its_plan_says() -> None:
    source, plan = images(), stream().plan(0, 0)
    batch = vicinal_batch(source, plan, torch.arange(8), VIEWS)
    views = []
    for row in range(8):  # one image at a time, by slicing
        padded = torch.nn.functional.pad(source.pixels[plan.image[row]], (2, 2, 2, 2))
        top, left = int(plan.top[row]), int(plan.left[row])
        view = padded[:, top : top + 6, left : left + 6].float() / 255
        views.append(view.flip(-1) if plan.flip[row] else view)
    for row in range(8):
        lam, partner = plan.lam[row], int(plan.partner[row])
        expected = lam * views[row] + (1 - lam) * views[partner]
        torch.testing.assert_close(batch.mixed[row], expected)
        assert batch.label[row] == source.labels[plan.image[row]]
        assert batch.partner_label[row] == source.labels[plan.image[partner]]
        assert batch.index[row] == source.index[plan.image[row]]
        assert batch.partner_index[row] == source.index[plan.image[partner]]


def test_cutmix_pastes_a_box_by_hand() -> None:
    view, partner = torch.zeros(2, 3, 4, 8), torch.ones(2, 3, 4, 8)
    # lam 3/4: a box of half the sides, 2 x 4, round row 2 and column 4; the second is clipped.
    lam, centre = torch.tensor([0.75, 0.75]), torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    mixed, share = cutmix(view, partner, lam, centre)
    expected = torch.zeros(2, 4, 8)
    expected[0, 1:3, 2:6] = 1
    expected[1, :1, :2] = 1
    assert torch.equal(mixed, expected[:, None].expand(2, 3, 4, 8))
    assert share.tolist() == [1 - 8 / 32, 1 - 2 / 32]


@pytest.mark.parametrize("shape", [(32, 32), (7, 10), (9, 224)])
def test_cutmix_boxes_are_those_of_the_published_code(shape: tuple[int, int]) -> None:
    """`rand_bbox` of the authors' train.py: int(side * sqrt(1 - lam)), halved by //, clipped."""
    rng = np.random.default_rng(0)
    lambdas = np.concatenate(
        [rng.random(200), [0, 1e-12, 3e-8, 0.19, 0.36, 0.64, 0.75, 0.96, 0.99, 1]]
    )
    centre = torch.from_numpy(rng.random((len(lambdas), 2))).float()
    view, partner = (torch.full((len(lambdas), 1, *shape), value) for value in (0.0, 1.0))
    mixed, share = cutmix(view, partner, torch.from_numpy(lambdas).float(), centre)
    for k, lam in enumerate(lambdas):
        expected = np.zeros(shape)
        box = []
        for axis, size in enumerate(shape):
            side, middle = int(size * np.sqrt(1 - lam)), int(centre[k, axis] * size)
            box.append(slice(max(middle - side // 2, 0), min(middle + side // 2, size)))
        expected[tuple(box)] = 1
        assert np.array_equal(mixed[k, 0].numpy(), expected), (lam, centre[k])
        assert share[k].item() == pytest.approx(1 - expected.mean(), abs=1e-6)


def test_cutmix_keeps_nothing_at_lambda_0_and_all_at_1() -> None:
    view, partner = torch.zeros(2, 3, 6, 6), torch.ones(2, 3, 6, 6)
    mixed, share = cutmix(view, partner, torch.tensor([0.0, 1.0]), torch.full((2, 2), 0.5))
    assert mixed.mean(dim=(1, 2, 3)).tolist() == [1, 0]
    assert share.tolist() == [0, 1]


def test_cutmix_is_a_law_of_the_same_stream() -> None:
    mixup, cutmix = stream().plan(2, 3), stream(mixing=Mixing("uniform", kind="cutmix")).plan(2, 3)
    for name in ("image", "partner", "lam", "top", "left", "flip"):
        assert torch.equal(getattr(mixup, name), getattr(cutmix, name)), name
    source, rows = images(), torch.arange(8)
    batch = vicinal_batch(source, cutmix, rows, VIEWS)
    assert not torch.equal(batch.lam, cutmix.lam)  # as it came out, after clipping
    unmixed = vicinal_batch(source, stream(mixing=None).plan(2, 3), rows, VIEWS).mixed
    same_pixel = (batch.mixed == unmixed).all(dim=1).float().mean(dim=(1, 2))
    assert (same_pixel >= batch.lam - 1e-6).all()


@pytest.mark.parametrize("kind", ["mixup", "cutmix", "switch"])
@pytest.mark.parametrize("prob", [1.0, 0.5])
def test_processes_take_slices_of_the_global_batch(kind: str, prob: float) -> None:
    source, plan = images(), stream(mixing=Mixing("uniform", kind=kind, prob=prob)).plan(1, 1)
    whole = vicinal_batch(source, plan, torch.arange(8), VIEWS)
    halves = [vicinal_batch(source, plan, torch.arange(4) + start, VIEWS) for start in (0, 4)]
    assert all((half.epoch, half.step) == (1, 1) == (whole.epoch, whole.step) for half in halves)
    for name, value in vars(whole).items():
        if torch.is_tensor(value):
            assert torch.equal(torch.cat([getattr(half, name) for half in halves]), value), name


@pytest.mark.parametrize("groups", [1, 2])
def test_draws_are_in_the_order_that_they_always_had(groups: int) -> None:
    """So streams, and tapes along them, stay as they were."""
    plan = stream(seed=3, mixing=Mixing("beta", 0.4, kind="cutmix"), groups=groups).plan(2, 5)
    rng = np.random.default_rng([3, STEP, 2, 5])
    top, left = rng.integers(0, 5, size=(2, 8))
    flip = rng.random(8) < 0.5
    share = 8 // groups
    partner = np.concatenate([rng.permutation(share) + share * g for g in range(groups)])
    lam, centre = rng.beta(0.4, 0.4, 8), rng.random((8, 2))
    assert plan.centre is not None
    drawn = (plan.top, plan.left, plan.flip, plan.partner, plan.lam, plan.centre)
    for tensor, array in zip(drawn, (top, left, flip, partner, lam, centre), strict=True):
        assert torch.equal(tensor, torch.from_numpy(array).to(tensor.dtype))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("prob", [0.2, 0.5, 0.9])
def test_exactly_a_share_of_each_batch_is_mixed(prob: float, kind: str, groups: int) -> None:
    some, every = (
        stream(mixing=Mixing("uniform", kind=kind, prob=p), groups=groups) for p in (prob, 1.0)
    )
    rows, share = torch.arange(8), 8 // groups
    times_mixed, kept_partners = torch.zeros(8), []
    for epoch in range(20):
        for step in range(6):
            plan, whole = some.plan(epoch, step), every.plan(epoch, step)
            mixed = plan.partner != rows
            counts = mixed.view(groups, share).sum(dim=1)
            assert counts.tolist() == [round(prob * share)] * groups
            assert torch.equal(plan.partner // share, rows // share)
            assert (plan.lam[~mixed] == 1).all()
            assert torch.equal(plan.lam[mixed], whole.lam[mixed])
            if kind == "cutmix":
                assert plan.centre is not None
                assert whole.centre is not None
                assert torch.equal(plan.centre, whole.centre)
            times_mixed += mixed
            kept_partners.append((plan.partner == whole.partner)[mixed])
    # Whichever row it is; and partners are those of a stream that mixes all, but where images are
    # their own there: one of a group on average.
    assert (times_mixed / 120 - counts.sum() / 8).abs().max() < 0.17
    assert torch.cat(kept_partners).float().mean() > 1 - 1.8 / share


def test_partners_of_mixed_images_come_from_the_whole_batch() -> None:
    plans = [stream(mixing=Mixing(prob=0.5)).plan(e, k) for e in range(20) for k in range(6)]
    rows = torch.arange(8)
    is_unmixed = [(p.partner == rows)[p.partner[p.partner != rows]] for p in plans]
    assert torch.cat(is_unmixed).float().mean().item() == pytest.approx(4 / 7, abs=0.06)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_an_unmixed_image_is_its_view_to_the_last_bit(kind: str) -> None:
    source, rows = images(), torch.arange(8)
    plan = stream(mixing=Mixing("uniform", kind=kind, prob=0.4)).plan(0, 0)
    batch = vicinal_batch(source, plan, rows, VIEWS)
    views = vicinal_batch(source, stream(mixing=None).plan(0, 0), rows, VIEWS).mixed
    is_view = (batch.mixed == views).all(dim=(1, 2, 3))
    assert is_view.tolist() == (plan.partner == rows).tolist()
    assert is_view.sum() == 5
    assert (batch.lam[is_view] == 1).all()
    assert torch.equal(batch.label[is_view], batch.partner_label[is_view])


@pytest.mark.parametrize(
    ("switch_prob", "least", "most"), [(0.0, 0, 0), (0.3, 0.2, 0.4), (1, 1, 1)]
)
def test_a_batch_of_switch_is_that_of_mixup_or_that_of_cutmix(
    switch_prob: float, least: float, most: float
) -> None:
    switch = stream(mixing=Mixing("beta", 0.4, kind="switch", switch_prob=switch_prob))
    pure = [stream(mixing=Mixing("beta", 0.4, kind=kind)) for kind in ("mixup", "cutmix")]
    pasted = 0
    for epoch in range(40):
        for step in range(6):
            plan = switch.plan(epoch, step)
            pasted += plan.centre is not None
            assert are_same(plan, pure[plan.centre is not None].plan(epoch, step))
    assert least <= pasted / 240 <= most


def test_batches_of_cutmix_may_have_a_law_of_their_own() -> None:
    mixing = Mixing("beta", a=0.1, kind="switch", cutmix_a=9.0)
    plans = [stream(mixing=mixing).plan(e, k) for e in range(40) for k in range(6)]
    for is_pasted, variance in ((False, 1 / (4 * 1.2)), (True, 1 / (4 * 19))):
        lam = torch.cat([p.lam for p in plans if (p.centre is not None) == is_pasted])
        assert lam.var().item() == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize(
    ("lam", "box", "share"),
    [
        (0.3, (2, 8, 0, 3), 0.71875),
        (0.40475733982344153, (2, 8, 1, 7), 0.4375),
        (0.8957664297279371, (0, 1, 2, 4), 0.96875),
    ],
)
def test_boxes_are_those_of_timm(lam: float, box: tuple[int, ...], share: float) -> None:
    """Of timm 1.0.31's Mixup, for images of 8 x 8 and sides that are even; odd ones lose a pixel
    here, as in the authors' code and in timm up to 1.0.28."""
    view, partner = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    half = int(8 * (1 - lam) ** 0.5) // 2
    middle = [high - half if low == 0 else low + half for low, high in (box[:2], box[2:])]
    mixed, kept = cutmix(view, partner, torch.tensor([lam]), torch.tensor([middle]) / 8)
    expected = torch.zeros(8, 8)
    expected[box[0] : box[1], box[2] : box[3]] = 1
    assert torch.equal(mixed[0, 0], expected)
    assert kept.item() == share


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lam": "unifrm"}, "got lam='unifrm'; takes uniform, beta, or a number"),
        ({"lam": 1.5}, "got lam=1.5"),
        ({"a": 0.0}, "got a=0.0; takes a number above 0"),
        ({"per": "image"}, "got per='image'; takes sample or batch"),
        ({"kind": "cutmx"}, "got kind='cutmx'; takes mixup, cutmix or switch"),
        ({"prob": 0.0}, "got prob=0.0; takes a number above 0 and up to 1"),
        ({"prob": float("nan")}, "got prob=nan"),
        ({"switch_prob": -0.1}, "got switch_prob=-0.1"),
        ({"cutmix_a": 0.0}, "got cutmix_a=0.0"),
        ({"lam": None}, "got lam=None; takes uniform"),
        ({"prob": "half"}, "got prob='half'; takes a number above 0"),
    ],
)
def test_values_that_mix_nothing_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixing(**keys)


def test_a_share_of_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prob=0.1 mixes none of 4 images"):
        stream(mixing=Mixing(prob=0.1), groups=2)


def test_fewer_images_than_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fill"):
        stream(n=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"a": 2.0}, "a: got 2.0, which changes nothing: it is of lam='beta'"),
        ({"switch_prob": 0.9}, "switch_prob: got 0.9, which changes nothing"),
        ({"cutmix_a": 2.0, "kind": "switch"}, "cutmix_a: got 2.0, which changes nothing"),
    ],
)
def test_an_option_of_mixing_that_changes_nothing_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Mixing("uniform", **options)


def test_a_share_of_single_images_is_refused() -> None:
    with pytest.raises(ValueError, match="takes two images or more"):
        VicinalStream(200, 8, 7, Mixing("uniform", prob=0.6), groups=8)
