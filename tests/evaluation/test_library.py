"""mixkd as a library: what `from mixkd import ...` gives, and that its examples hold."""

import doctest
import inspect
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Accuracy, F1Score, MetricCollection

import mixkd
from mixkd import (
    Calibration,
    Mixing,
    TemperatureFit,
    VicinalStream,
    distillation,
    distillation_kl,
    fit_temperature,
    measure_calibration,
    measure_linearity,
    mix,
    mixed_cross_entropy,
    plot_linearity,
    plot_reliability,
    vicinal_batches,
)
from mixkd.data.pairs import draw_pairs
from mixkd.errors import NotFinite


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import mixkd, sys; print([m for m in ('torch', 'hydra', 'numpy') if m in sys.modules])"
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert completed.stdout == "[]\n"


@pytest.mark.parametrize("name", mixkd.__all__)
def test_every_public_name_has_an_example_that_holds(name: str) -> None:
    exported = getattr(mixkd, name)
    assert name in dir(mixkd)
    module = import_module(exported.__module__)
    tests = [
        test
        for test in doctest.DocTestFinder(recurse=False).find(exported, name, module)
        if test.examples
    ]
    assert tests, "no example"
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    if inspect.isfunction(exported):
        assert "Args:" in (exported.__doc__ or "")


def test_a_misspelt_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="No mixkd attribute distil"):
        mixkd.distil  # noqa: B018


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy 8-pixel images of three colours: float32 [n, 3, 8, 8] in [0, 1] and int64 [n]."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 3
    colour = 0.6 * nn.functional.one_hot(label, 3).float()[:, :, None, None]
    return colour + 0.4 * torch.rand(n, 3, 8, 8, generator=generator), label


def tiny(hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, hidden, 3), nn.BatchNorm2d(hidden), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Dropout(0.1), nn.Linear(hidden, 3),
    )  # fmt: skip


def test_a_notebook_trains_and_measures_a_student() -> None:
    """A plain loop that teaches a student from a teacher on mixed images, then looks at both."""
    torch.manual_seed(0)
    (images, label), (held_out, held_label), (test, test_label) = (
        blobs(n, seed) for n, seed in ((192, 0), (60, 1), (90, 2))
    )
    teacher, student = tiny(16), tiny(4)
    stream = VicinalStream(192, 32, seed=0, mixing=Mixing("uniform"), slack=2, flip=True)

    def train(model: nn.Module, teacher_model: nn.Module | None) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for epoch in range(8):
            for batch in vicinal_batches(stream, images, label, epoch):
                logits = model(batch.mixed)
                loss = ce = mixed_cross_entropy(logits, batch.label, batch.partner_label, batch.lam)
                if teacher_model is not None:
                    kd = distillation_kl(
                        logits, teacher_model(batch.mixed).detach(), temperature=2.0
                    )
                    loss = distillation(ce, kd, temperature=2.0)["loss"]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    train(teacher, None)
    train(student, teacher.eval())

    temperature = fit_temperature(student, held_out, held_label)
    calibration = measure_calibration(student, test, test_label, temperature=temperature)
    assert calibration["accuracy"] > 0.9
    assert calibration["scaled/temperature"] == temperature
    linearity = measure_linearity(student, test, teacher=teacher)
    assert len(linearity.rows["student"]) == 21
    assert linearity.rows["student"][0]["n_pairs"] == 45
    gain = linearity.metrics["delta_lin_peak"]
    assert gain == max(row["delta_lin"] for row in linearity.rows["student"])
    # Learnt from it on mixtures: it answers as its teacher does.
    assert linearity.metrics["kl_mixed"] < 0.1


def test_calibration_is_that_of_the_metric_and_leaves_the_model_as_it_was() -> None:
    model, (images, label) = tiny(4), blobs(50, 0)
    model[1].eval()  # a frozen normalisation in a model that trains
    calibration = measure_calibration(model, images, label, batch_size=7)
    assert [m.training for m in model] == [True, False, True, True, True, True, True]
    with torch.no_grad():
        logits = model.eval()(images)
    metric, fit = Calibration(), TemperatureFit()
    metric.update(logits, label)
    fit.update(logits, label)
    for name, value in metric.compute().items():
        assert calibration[name] == pytest.approx(value, abs=1e-6), name
    assert fit_temperature(model, images, label) == pytest.approx(fit.compute(), rel=1e-4)
    loader = DataLoader(TensorDataset(images, label), batch_size=20)
    assert measure_calibration(model, loader) == pytest.approx(calibration, abs=1e-6)


def test_linearity_is_that_of_the_definition_over_given_pairs() -> None:
    model, (images, _) = tiny(4).eval(), blobs(40, 0)
    pairs = draw_pairs(40, 5000, seed=3)
    drawn = measure_linearity(model, images, lambdas=3, seed=3, batch_size=6)
    chosen = measure_linearity(model, images[pairs.i], images[pairs.j], lambdas=3)
    with torch.no_grad():
        mixed = mix(images[pairs.i], images[pairs.j], torch.full((20,), 0.5))
        inputs = (images[pairs.i], images[pairs.j], mixed)
        p, q, m = (model(x).double().softmax(1) for x in inputs)
    line = (p + q) / 2
    expected = (line * (line.log() - m.log())).sum(1).mean().item()
    for linearity in (drawn, chosen):
        assert list(linearity.rows) == ["network"]
        assert linearity.rows["network"][1]["nl"] == pytest.approx(expected, rel=1e-4)
        assert linearity.metrics["network/nl_peak"] == pytest.approx(expected, rel=1e-4)


def test_linearity_of_a_loader_is_that_of_its_images() -> None:
    student, teacher, (images, label) = tiny(4), tiny(6), blobs(41, 0)
    options: dict[str, Any] = {"teacher": teacher, "lambdas": 3, "n_pairs": 9, "seed": 2}
    expected = measure_linearity(student, images, **options)
    loader = DataLoader(TensorDataset(images, label), batch_size=7)
    batches = [*loader]
    for given in (loader, batches, iter(batches), [batch[0] for batch in batches]):
        linearity = measure_linearity(student, given, **options)
        assert linearity.metrics == pytest.approx(expected.metrics)
        assert linearity.rows["student"][0]["n_pairs"] == 9


def test_metrics_of_ones_own_are_measured_beside_and_stay_as_they_are() -> None:
    model, (images, label) = tiny(4), blobs(50, 0)
    f1 = F1Score("multiclass", num_classes=3, average="macro")
    both = MetricCollection({"top": Accuracy("multiclass", num_classes=3, average="micro")})
    f1.update(torch.eye(3), torch.arange(3))
    metrics = {"f1": f1, "of": both}
    for _ in range(2):
        values = measure_calibration(model, images, label, metrics=metrics, batch_size=7)  # type: ignore[arg-type]
        with torch.no_grad():
            expected = f1_score(label, model.eval()(images).argmax(1), average="macro")
        assert values["f1"] == pytest.approx(expected, abs=1e-5)
        assert values["of_top"] == pytest.approx(values["accuracy"])
    assert f1.compute() == 1


def test_plots_hold_what_is_measured() -> None:
    student, teacher, (images, label) = tiny(4), tiny(6), blobs(41, 0)
    counted = Calibration()
    counted.update(torch.eye(3), torch.tensor([0, 1, 1]))
    loader = DataLoader(TensorDataset(images, label), batch_size=7)
    figure = plot_reliability({"student": student, "counted": counted}, loader)
    ece = [measure_calibration(student, images, label)["ece"], counted.compute()["ece"]]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"student\nECE {ece[0]:.3f}", f"counted\nECE {ece[1]:.3f}"]
    (alone,) = plot_reliability(student, images, label, title="mine").axes
    assert alone.get_title() == f"mine\nECE {ece[0]:.3f}"

    linearity = measure_linearity(student, images, teacher=teacher, lambdas=5)
    for figure in (
        plot_linearity(linearity),
        plot_linearity(student, images, teacher=teacher, lambdas=5),
    ):
        lines = figure.axes[0].lines
        assert [line.get_label() for line in lines] == ["student", "teacher"]
        nl = [row["nl"] for row in linearity.rows["student"]]
        assert list(lines[0].get_ydata()) == pytest.approx(nl)  # type: ignore[arg-type]
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_a_function_is_a_model_and_no_logits_are_refused() -> None:
    images, label = blobs(12, 0)
    assert measure_calibration(lambda x: x.mean(dim=(2, 3)), images, label)["accuracy"] == 1
    with pytest.raises(TypeError, match=r"gives dict; .* lambda images: model\(images\).logits"):
        measure_calibration(lambda x: {"logits": x}, images, label)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match=r"gives torch.float32 \[12, 3, 8, 8\]"):
        measure_linearity(lambda x: x, images, images.flip(0))
    with pytest.raises(NotFinite):
        measure_linearity(lambda x: x.mean(dim=(2, 3)) / 0, images)
    with pytest.raises(ValueError, match="got 11 labels for 12 images"):
        measure_calibration(lambda x: x, images, label[:11])
    with pytest.raises(ValueError, match="no images"):
        measure_calibration(lambda x: x, [])


def test_batches_of_a_stream_are_its_plan() -> None:
    images, label = blobs(12, 0)
    stream = VicinalStream(12, 4, seed=5, mixing=Mixing("uniform"))
    batches = list(vicinal_batches(stream, images, label, epoch=2))
    plan = stream.plan(2, 1)
    image, partner = images[plan.image], images[plan.image[plan.partner]]
    torch.testing.assert_close(batches[1].mixed, mix(image, partner, plan.lam))
    assert batches[1].label.tolist() == label[plan.image].tolist()
    assert len(batches) == 3
    as_bytes = (images * 255).round().to(torch.uint8)
    batch = next(vicinal_batches(stream, as_bytes, label, epoch=2))
    torch.testing.assert_close(batch.mixed, batches[0].mixed, atol=0.5 / 255, rtol=0)
    with pytest.raises(ValueError, match="11 images, 12 labels, a stream over 12"):
        next(vicinal_batches(stream, images[:11], label))
    padded = VicinalStream(12, 4, seed=5, mixing=None, slack=3)
    with pytest.raises(ValueError, match="slack of 3"):
        next(vicinal_batches(padded, images, label))
