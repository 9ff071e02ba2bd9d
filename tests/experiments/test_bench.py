"""The bench: how it alternates, what it prints, and what each comparison measures."""

import sys
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import nn

from experiments.bench import __main__ as bench
from experiments.bench import (
    corruptions,
    inputs,
    losses,
    settings,
    start,
    sweep,
    training,
    vicinal,
)
from experiments.bench.parts import linear, random_images
from experiments.bench.timing import Figure, in_turn
from mixkd.data.views import crop_and_flip
from mixkd.networks.network import Network


def test_work_is_done_in_turn_and_a_first_round_does_not_count() -> None:
    calls: list[str] = []

    def work(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    seconds = in_turn({name: lambda name=name: work(name) for name in "abc"}, repeats=2)
    assert "".join(calls) == "abc" + "bca" + "cab"
    assert seconds == {"a": [6, 8], "b": [4, 9], "c": [5, 7]}


def test_a_median_is_held_against_its_target() -> None:
    values = (3.0, 1.0, 1.5)
    assert Figure("x", values, "").is_met is None
    assert Figure("x", values, "", ("at most", 1.5)).is_met
    assert not Figure("x", values, "", ("at most", 1.49)).is_met
    assert Figure("x", values, "", ("at least", 1.5)).is_met
    assert not Figure("x", values, "", ("at least", 1.51)).is_met


def test_the_table_has_a_sentence_on_each_figure() -> None:
    figures = [
        Figure("speed: a / b", (0.99, 1.2345, 1.0), "A is fast.", ("at least", 0.98)),
        Figure("start", (0.9, 0.7), "B is slow.", ("at most", 0.5), "s"),
        Figure("size", (2.0,), "C is."),
    ]
    assert bench.markdown(figures) == (
        "|  | what | median | lowest | highest | target | met |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| 1 | speed: a / b | 1 | 0.99 | 1.23 | at least 0.98 | yes |\n"
        "| 2 | start | 0.8 s | 0.7 | 0.9 | at most 0.5 s | no |\n"
        "| 3 | size | 2 | 2 | 2 |  |  |\n"
        "\n"
        "1. A is fast.\n2. B is slow.\n3. C is.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "got speed; takes training, losses, sweep"),
        (["--repeats", "0"], "takes 1 or more"),
    ],
)
def test_a_mistake_gets_one_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        bench.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_it_writes_what_it_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in bench.COMPARISONS:
        module = import_module(f"experiments.bench.{name}")
        figure = Figure(f"of {name}", (2.0, 3.0, 4.0), "It is.", ("at least", 1.0))
        monkeypatch.setattr(module, "figures", lambda repeats, f=figure: iter([f] * repeats))
    bench.main(["inputs", "--repeats", "2"])
    printed = capsys.readouterr().out
    table = (bench.OUT / "table.md").read_text()
    assert table in printed
    assert table.count("| of inputs | 3 | 2 | 4 | at least 1 | yes |") == 2
    assert "of training" not in table
    assert (bench.OUT / "table.csv").read_text().splitlines()[1] == (
        "of inputs,3,2,4,at least 1,yes"
    )


class CountingNetwork(nn.Module):
    """A linear network that counts the images that it is asked about."""

    images = 0

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.inner = linear(32, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        CountingNetwork.images += len(x)
        logits: torch.Tensor = self.inner(x)
        return logits


def counting_network(name: str, classes: int = 10, *overrides: str) -> Network:
    return Network(CountingNetwork(classes))


def images_seen(module: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Have a comparison work once; return the dict that it fills with the images of each piece."""
    counts: dict[str, int] = {}

    def time_once(works: Any, repeats: int) -> dict[str, list[float]]:
        for name, work in works.items():
            CountingNetwork.images = 0
            assert work() > 0
            counts[name] = CountingNetwork.images
        return {name: [1.0] for name in works}

    monkeypatch.setattr(module, "in_turn", time_once)
    return counts


def test_vicinal_analysis_asks_once_a_lambda_and_naive_use_three_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vicinal, "timm_network", counting_network)
    monkeypatch.setattr(vicinal, "PAIRS", 6)
    monkeypatch.setattr(vicinal, "BATCH", 3)
    counts = images_seen(vicinal, monkeypatch)
    figures = list(vicinal.figures(1))
    lambdas = vicinal.LAMBDAS
    assert counts == {"analysis": 6 * lambdas, "passes": 6 * lambdas, "naive": 3 * 6 * lambdas}
    assert len(figures) == 3


def test_the_bare_loop_makes_the_views_that_mixkd_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same draws: without any flip, and with all flipped."""
    pixels = random_images(5, 8).pixels
    for chance, flip in ((0.9, False), (0.1, True)):
        torch.manual_seed(3)
        top, left = torch.randint(0, 9, (2, 5, 1)).flatten(1)
        monkeypatch.setattr(torch, "rand", lambda *shape, c=chance: torch.full(shape, c))
        torch.manual_seed(3)
        views = training.bare_views(pixels)
        expected = crop_and_flip(pixels, top, left, torch.full((5,), flip), 4, (8, 8))
        assert torch.equal(views, expected / 255)


@pytest.mark.parametrize("module", [training, losses, corruptions, inputs, settings, start])
def test_each_comparison_gives_positive_figures(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reduced: dict[str, dict[str, Any]] = {
        "training": {"timm_network": counting_network},
        "corruptions": {"IMAGES": 8, "BATCH": 4, "timm_network": counting_network},
        "inputs": {"BATCH": 8, "STEPS": 2, "FILES": 3},
        "settings": {"BATCH": 4, "STEPS": 1, "timm_network": counting_network},
        "losses": {"BATCH": 4, "STEPS": 1, "timm_network": counting_network},
        "start": {"MIXKD": [sys.executable, "-c", "print('stepped')"]},
    }
    for name, value in reduced[module.__name__.rpartition(".")[2]].items():
        monkeypatch.setattr(module, name, value)
    if module is settings:
        monkeypatch.setenv("CXX", "no-such-compiler")
    if module is training:
        compared = training.compared
        monkeypatch.setattr(
            training, "compared", lambda *a, **k: compared(*a, **(k | {"steps": 2, "batch": 4}))
        )
    figures = list(module.figures(1))
    assert len({figure.what for figure in figures}) == len(figures) > 0
    for figure in figures:
        assert len(figure.values) in (1, 2, 3)
        assert figure.median > (-1e3 if figure.unit == "ms" else 0)  # a difference may be negative
        assert figure.says.endswith(".")


def test_of_six_temperatures_one_run_asks_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "timm_network", counting_network)
    monkeypatch.setattr(sweep, "SIDE", 32)
    counts = images_seen(sweep, monkeypatch)
    figures = list(sweep.figures(1))
    images = sweep.BATCH * sweep.STEPS
    held_out = 10  # every training looks at them once
    assert counts == {
        "recording": 2 * images + held_out,
        "reading": images + held_out,
        "live": 2 * images + held_out,
        "student": images + held_out,
        "teacher": images,
    }
    assert figures[0].median == pytest.approx((1 + 5) / (1 + 6))
    assert figures[1].median == pytest.approx(6 / (1 + 6))
