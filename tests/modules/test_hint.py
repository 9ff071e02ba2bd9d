"""Hints within a training: their layers, what they learn, what they are tried with."""

from collections.abc import Sequence
from dataclasses import replace
from inspect import isclass, signature
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mixkd import Distillation, Hint, Mixing
from mixkd.config.shipped import group_names, shipped_values
from mixkd.data.batches import ordinary_batch
from mixkd.errors import UserError
from mixkd.losses import hints
from mixkd.losses.divergences import GIVEN, divergence_of
from mixkd.losses.hints import MADE_WITH, hint_of, usual_layers
from mixkd.losses.hints.crd import CRD
from mixkd.losses.hints.fitnet import FitNet
from mixkd.losses.hints.reviewkd import ReviewKD
from mixkd.losses.hints.simkd import SimKD
from mixkd.losses.hints.vid import VID
from mixkd.modules.hint import pairs_of_layers
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.parts import import_callable
from mixkd.vicinal import VicinalBatch

INDEX, LABEL = torch.arange(20), torch.arange(20) % 5

HINTS = [module.name for module in iter_modules(hints.__path__)]


class Deep(nn.Module):
    """Has four stages where the student has three."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1, self.stage2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 1, 1)
        self.stage3, self.stage4 = nn.Conv2d(6, 8, 3, 2, 1), nn.Conv2d(8, 10, 3, 2, 1)
        self.linear = nn.Linear(10, 5)

    def forward(self, view: Tensor) -> Tensor:
        maps = self.stage4(self.stage3(self.stage2(self.stage1(view))))
        return self.linear(maps.mean((2, 3)))  # type: ignore[no-any-return]


def student() -> nn.Module:
    torch.manual_seed(0)
    return CifarResNet(8, 5)


def teacher() -> nn.Module:
    torch.manual_seed(1)
    return Deep()


def hint(comparison: Any, **options: Any) -> tuple[Hint, nn.Module, nn.Module]:
    networks = student(), teacher()
    given = {"image_size": (16, 16), "train_index": INDEX, "train_label": LABEL} | options
    return Hint(comparison, *networks, **given), *networks


def module(comparison: Any, divergence: Any = "kl", **options: Any) -> Distillation:
    training = {key: options.pop(key) for key in ("warmup_epochs", "hint_weight", "alpha", "mixing")
                if key in options}  # fmt: skip
    made, *networks = hint(comparison, **options)
    return Distillation(*networks, hint=made, divergence=divergence, **training)


def batch() -> VicinalBatch:
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    made = ordinary_batch(images, LABEL[:6], Mixing("uniform"), seed=3, epoch=0, step=0)
    # The image at a position below five is of that class.
    return replace(made, index=INDEX[:6], partner_index=made.partner_label)


def fit(learner: Distillation, path: Path | None = None, **options: Any) -> Trainer:
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, **{"max_epochs": 1, **options},
    )  # fmt: skip
    images = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    trainer.fit(learner, DataLoader(TensorDataset(images, torch.arange(12) % 5), batch_size=6))
    if path is not None:
        trainer.save_checkpoint(path)
    return trainer


@pytest.mark.parametrize("name", HINTS)
def test_every_hint_compares_what_it_usually_does(name: str) -> None:
    options = {"negatives": 4} if name == "crd" else {}
    learner = module(name, **options)
    losses = learner.losses(batch())
    assert losses["hint"].dtype == torch.float32
    losses["hint"].backward()
    gradient = [p.grad for p in learner.network.parameters() if p.grad is not None]
    assert any(bool(g.abs().sum() > 0) for g in gradient)
    assert all(p.grad is None for p in learner.teacher.network.parameters())


@pytest.mark.parametrize(
    ("layers", "of_student", "of_teacher"),
    [
        ((["stages"], ["stages"]), 3, ["stage2", "stage3", "stage4"]),
        ((["last_stage"], ["stages"]), 1, ["stage4"]),
        ((["stages", "penultimate"], ["stages", "penultimate"]), 4,
         ["stage2", "stage3", "stage4", "penultimate"]),
        ((["middle_stage"], ["middle_stage"]), 1, ["stage3"]),
        ((["last_stage"], ["stage1"]), 1, ["stage1"]),
    ],
)  # fmt: skip
def test_of_more_stages_the_first_are_left_out(
    layers: tuple[Sequence[str], Sequence[str]], of_student: int, of_teacher: list[str]
) -> None:
    one, other = pairs_of_layers(student(), teacher(), *layers)
    assert (len(one), other) == (of_student, of_teacher)


@pytest.mark.parametrize(
    ("of_student", "of_teacher", "message"),
    [
        (["stages"], ["stage1", "stage2"], "hint.teacher_layers: got 2 beside 3 of the student"),
        (["stages", "linear"], ["stages"], "got 4 beside 4"),
        (["linear"], ["stage1", "linear"], "got 2 beside 1 of the student; takes as many of each"),
        (["linr"], ["linear"], r"hint.student_layers: got 'linr'.*did you mean linear\?"),
        (["linear"], ["stage5"], "hint.teacher_layers: got 'stage5'; the network has no such mod"),
    ],
)
def test_layers_that_do_not_pair_are_refused(
    of_student: list[str], of_teacher: list[str], message: str
) -> None:
    if message == "got 4 beside 4":  # as many: that is taken
        assert len(pairs_of_layers(student(), teacher(), of_student, of_teacher)[0]) == 4
        return
    with pytest.raises(UserError, match=message):
        pairs_of_layers(student(), teacher(), of_student, of_teacher)


def test_values_of_pairs_are_summed_and_a_joint_hint_is_called_once() -> None:
    def compare(one: Any, other: Any) -> Tensor:
        calls.append((one, other))
        return sum(x.mean() for x in (one if isinstance(one, list) else [one]))  # type: ignore[return-value]

    calls: list[Any] = []
    learner = module(compare, student_layers=["stages"], teacher_layers=["stages"])
    value = learner.losses(batch())["hint"]
    assert [one.shape[1] for one, _ in calls] == [16, 32, 64]
    assert value.item() == pytest.approx(sum(one.mean().item() for one, _ in calls))
    assert usual_layers(compare) == (("penultimate",), False)
    assert usual_layers(hint_of("reviewkd")) == (("stages", "penultimate"), True)
    joint, *_ = hint("reviewkd")
    assert len(joint.learned) == 1
    assert len(joint.learned[0].fusions) == 4  # type: ignore[arg-type, union-attr]


def test_classes_are_made_with_what_they_take() -> None:
    made: list[dict[str, Any]] = []

    class Taking(nn.Module):
        def __init__(self, student_shape: Any, train_label: Any, *, factor: float) -> None:
            super().__init__()
            made.append({"student_shape": student_shape, "train_label": train_label,
                         "factor": factor})  # fmt: skip

        def forward(self, student: Tensor, teacher: Tensor, lam: Tensor) -> Tensor:
            return lam.mean() * student.mean()

    hint(Taking, student_layers=["stages"], teacher_layers=["stages"], factor=2.0)
    assert [entry["student_shape"] for entry in made] == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]
    assert all(torch.equal(entry["train_label"], LABEL) for entry in made)
    assert [entry["factor"] for entry in made] == [2.0, 2.0, 2.0]
    with pytest.raises(ValueError, match="Taking is made for the shapes of features; takes Hint"):
        Hint(Taking, student(), teacher(), factor=2.0)


def test_what_a_hint_learns_is_learned_and_is_not_the_students(tmp_path: Path) -> None:
    learner = module("fitnet", hint_weight=10.0)
    learned = list(learner.hint.learned.parameters())  # type: ignore[union-attr]
    assert {id(p) for p in learned} <= {id(p) for p in learner.learning()}
    before = [p.detach().clone() for p in learned]
    fit(learner, tmp_path / "last.ckpt")
    assert any(not torch.equal(p, was) for p, was in zip(learned, before, strict=True))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert any(name.startswith("hint.learned.0.conv") for name in state)
    assert not any("teacher" in name for name in state)
    assert learner.outcome.state_dict().keys() == student().state_dict().keys()


def test_the_memory_of_crd_is_kept(tmp_path: Path) -> None:
    learner = module("crd", negatives=4)
    mixed = batch()
    learner.losses(mixed)
    state = learner.state_dict()
    (made,) = learner.hint.learned  # type: ignore[union-attr]
    assert isinstance(made, CRD)
    assert torch.equal(state["hint.learned.0.memory_student"], made.memory_student)
    other = module("crd", negatives=4)
    other.load_state_dict(state)
    torch.manual_seed(5)
    one = learner.losses(mixed)["hint"]
    torch.manual_seed(5)
    assert torch.equal(other.losses(mixed)["hint"], one)


@pytest.mark.parametrize("name", ["rkd", "pkt", "vid", "crd", "reviewkd", "simkd", "at"])
def test_a_hint_computes_in_float32_under_autocast(name: str) -> None:
    learner = module(name, **({"negatives": 4} if name == "crd" else {}))
    taken: list[Tensor] = []
    compared = learner.hint._compared[0]  # type: ignore[union-attr]
    comparison = compared.comparison

    def watched(one: Any, other: Any, **given: Any) -> Tensor:
        value = comparison(one, other, **given)
        taken.extend([*(one if isinstance(one, list) else [one]), value])
        return value

    compared.comparison = watched
    with torch.autocast("cpu", torch.bfloat16):
        losses = learner.losses(batch())
    losses["loss"].backward()
    assert {tensor.dtype for tensor in taken} == {torch.float32}


def test_the_weights_of_divergence_and_hint_grow() -> None:
    learner = module("rkd", warmup_epochs=4, alpha=0.5, hint_weight=3.0)
    shares = []

    def watched(mixed: VicinalBatch) -> dict[str, Tensor]:
        losses = Distillation.losses(learner, mixed)
        part = 4.0 * losses["kd"] + 3.0 * losses["hint"]
        shares.append(((losses["loss"] - 0.5 * losses["ce"]) / part).item())
        return losses

    learner.losses = watched  # type: ignore[method-assign, assignment]
    fit(learner, max_epochs=6)
    assert shares[::2] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1], abs=1e-5)


def test_a_hint_goes_without_a_divergence() -> None:
    learner = module("rkd", divergence=None, hint_weight=2.0, alpha=0.5)
    losses = learner.losses(batch())
    assert list(losses) == ["loss", "ce", "hint"]
    expected = 0.5 * losses["ce"] + 2 * losses["hint"]
    assert losses["loss"].item() == pytest.approx(expected.item())


def test_a_hint_is_given_t_squared_and_what_it_takes() -> None:
    given: dict[str, Any] = {}

    def compare(one: Tensor, other: Tensor, *, t_squared: float, partner_index: Tensor) -> Tensor:
        given.update(t_squared=t_squared, partner_index=partner_index)
        return one.mean()

    mixed = batch()
    module(compare).losses(mixed)
    assert given["t_squared"] == 4.0
    assert torch.equal(given["partner_index"], mixed.partner_index)


def no_gradient(one: Tensor, other: Tensor) -> Tensor:
    return one.detach().mean()


def not_finite(one: Tensor, other: Tensor) -> Tensor:
    return one.mean() / 0


def failing(one: Tensor, other: Tensor) -> Tensor:
    return one @ other[:, :1]


def no_scalar(one: Tensor, other: Tensor) -> Tensor:
    return one.mean(dim=0)


@pytest.mark.parametrize("key", ["hint", "divergence"])
@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        (no_gradient, "no_gradient gives a number from which no gradient leads back to the stud"),
        (not_finite, "not_finite gives inf for random networks|not_finite gives -inf for random"),
        (
            failing,
            "failing fails when it is called: RuntimeError: mat1 and mat2 shapes cannot",
        ),
        (no_scalar, "no_scalar gives a Tensor of shape .*; takes a scalar tensor"),
    ],
)
def test_a_comparison_is_tried(key: str, comparison: Any, message: str) -> None:
    if key == "hint":
        learner = module(comparison)
    else:
        learner = Distillation(student(), teacher(), divergence=comparison)
    with pytest.raises(UserError, match=f"{key}: ({message})"):
        learner.try_out(batch(), 5)


@pytest.mark.parametrize("name", ["crd", "fitnet", "vid", "reviewkd"])
def test_trying_leaves_no_trace(name: str) -> None:
    learner = module(name, **({"negatives": 4} if name == "crd" else {}))
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    generator = torch.get_rng_state()
    learner.try_out(batch(), 5)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[key]) for key, value in learner.state_dict().items())
    assert all(p.grad is None for p in learner.parameters())


@pytest.mark.parametrize("group", ["divergence", "hint"])
def test_a_file_has_the_name_the_defaults_and_the_layers_of_its_function(group: str) -> None:
    of_name = {"divergence": divergence_of, "hint": hint_of}[group]
    names = set(group_names(group)) - {"none"}
    assert names == set(HINTS) or "kl" in names
    for name in names - {"kl"}:
        values, function = shipped_values(group, name), of_name(name)
        assert values["name"] == name
        assert import_callable(values["factory"], group) is function
        parameters = [*signature(function).parameters.values()]
        skipped = MADE_WITH if isclass(function) else (*GIVEN, "student", "teacher")
        assert values["args"] == {p.name: p.default for p in parameters if p.name not in skipped}
        if group == "hint":
            text = (Path(__file__).parents[2] / f"conf/hint/{name}.yaml").read_text()
            layers = ", ".join(usual_layers(function)[0])
            assert f"student_layers: null     # paths of modules; null: [{layers}]\n" in text


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"got features of shapes \[64\] and .*; fitnet takes maps"
    ):
        FitNet((64,), (32, 4, 4))
    with pytest.raises(ValueError, match="got factor=0; takes a whole number from 1 to 32"):
        SimKD((16, 8, 8), (32, 8, 8), factor=0)
    for make in (VID, SimKD):
        made = make((16, 8, 8), (32, 4, 4))
        with pytest.raises(ValueError, match=r"takes \[b, channels, height, width\]"):
            made(torch.rand(2, 16), torch.rand(2, 32))
    with pytest.raises(ValueError, match="kernel='line'; takes consecutive, gaussian or bilinear"):
        hint("cc", kernel="line")


@pytest.mark.parametrize("sizes", [(8, 4), (4, 8), (8, 8), (8, 5), (4, 7), (8, 3)])
def test_fitnet_and_reviewkd_bring_any_sizes_together(sizes: tuple[int, int]) -> None:
    one, other = (torch.rand(2, c, s, s) for c, s in zip((6, 9), sizes, strict=True))
    shapes = tuple(one.shape[1:]), tuple(other.shape[1:])
    assert FitNet(*shapes)(one, other).isfinite()
    assert VID(*shapes)(one, other).isfinite()
    joint = ReviewKD(*([shape, (shape[0],)] for shape in shapes))
    pooled = [[x, x.mean((2, 3))] for x in (one, other)]
    assert joint.eval()(*pooled).isfinite()
