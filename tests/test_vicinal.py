import numpy as np
import pytest
import torch

from mixkd.data.batches import vicinal_batch
from mixkd.data.images import Images
from mixkd.data.views import Views
from mixkd.vicinal import Mixing, Plan, VicinalStream, cutmix, draw_lam, mix

UNIFORM = Mixing("uniform")
VIEWS = Views((6, 6), resize=None, size=None, pad=2)


def stream(seed: int = 0, mixing: Mixing | None = UNIFORM, n: int = 50) -> VicinalStream:
    return VicinalStream(n, 8, seed, mixing, slack=4, flip=True)


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


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_processes_take_slices_of_the_global_batch(kind: str) -> None:
    source, plan = images(), stream(mixing=Mixing("uniform", kind=kind)).plan(1, 1)
    whole = vicinal_batch(source, plan, torch.arange(8), VIEWS)
    halves = [vicinal_batch(source, plan, torch.arange(4) + start, VIEWS) for start in (0, 4)]
    assert all((half.epoch, half.step) == (1, 1) == (whole.epoch, whole.step) for half in halves)
    for name, value in vars(whole).items():
        if torch.is_tensor(value):
            assert torch.equal(torch.cat([getattr(half, name) for half in halves]), value), name


def test_fewer_images_than_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fill"):
        stream(n=7)
