"""`mixkd evaluate vicinal=true`, as a user types it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.network import Network

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
DATA = ["data=digits", "data.limit_train=80", "data.limit_test=61"]
NETWORK = ["network=resnet20", "network.args.depth=8", "network.weights=student.pt"]
TEACHER = ["teacher=resnet20", "teacher.args.depth=8", "teacher.weights=teacher.pt"]
MORE = ["vicinal=true", "vicinal.lambdas=5", "vicinal.n_pairs=25", "trainer.accelerator=cpu"]
GAINS = ("delta_lin", "delta_lin_se")


@pytest.fixture(autouse=True)
def weights() -> None:
    for seed, name in enumerate(("student", "teacher", "erm")):
        torch.manual_seed(seed)
        core = CifarResNet(8, 10)
        core(torch.randn(64, 3, 32, 32))  # so that BatchNorm has seen something
        torch.save(core.state_dict(), f"{name}.pt")


def rows(run: str) -> dict[tuple[str, str], list[dict[str, str]]]:
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    with open(Path(run, "vicinal.csv"), newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["split"], row["network"]), []).append(row)
    return found


def metrics(run: str) -> dict[str, float]:
    return dict(json.loads(Path(run, "metrics.json").read_text()))


def test_a_pair_is_measured_as_in_plain_pytorch(
    mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = Network.forward

    def counted(self: Network, view: Tensor) -> Tensor:
        asked.append(len(view))
        return original(self, view)

    monkeypatch.setattr(Network, "forward", counted)
    overrides = [
        *DATA,
        *NETWORK,
        *TEACHER,
        *MORE,
        "vicinal.pairs=pairs.npz",
        "data.eval_batch_size=10",
    ]
    assert mixkd("evaluate", *overrides, "run.dir=run") == 0
    monkeypatch.setattr(Network, "forward", original)
    found = rows("run")
    assert list(found) == [(s, n) for s in ("train", "test") for n in ("student", "teacher")]
    # Five lambdas, of which the ends are clean: 5 passes a pair, of two networks and two splits.
    # Beside them the test images and two fits of the temperature. (The check asks their cores.)
    val = 10  # at least one a class
    assert sum(asked) == 2 * 2 * 5 * 25 + 61 + 2 * val

    from mixkd.data.splits import load_splits
    from mixkd.request import request

    splits = load_splits(request("evaluate", [*DATA, *NETWORK]).data)
    pairs = np.load("pairs.npz")
    cores = {}
    for name in ("student", "teacher"):
        core = CifarResNet(8, 10)
        core.load_state_dict(torch.load(f"{name}.pt", weights_only=True))
        cores[name] = core.eval()
    mean, std = (
        torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    pixels: Any = splits.test.pixels  # type: ignore[union-attr]
    first, second = (pixels[pairs[k]].float() / 255 for k in "ij")

    def log_p(name: str, view: Tensor) -> np.ndarray:
        with torch.no_grad():
            z = cores[name]((view - mean) / std).double().numpy()
        return np.asarray(z - z.max(1, keepdims=True) - np.log(
            np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)
        ))  # fmt: skip

    for k, lam in enumerate((0, 0.25, 0.5, 0.75, 1)):
        mixed = {n: log_p(n, lam * first + (1 - lam) * second) for n in cores}
        for name in cores:
            line = lam * np.exp(log_p(name, first)) + (1 - lam) * np.exp(log_p(name, second))
            nl = (line * (np.log(line) - mixed[name])).sum(1)
            h = -(np.exp(mixed[name]) * mixed[name]).sum(1)
            row = found["test", name][k]
            assert float(row["nl"]) == pytest.approx(nl.mean(), rel=1e-5, abs=1e-6)
            assert float(row["entropy"]) == pytest.approx(h.mean(), rel=1e-5, abs=1e-6)
            assert float(row["dominance"]) == pytest.approx(
                nl.mean() / h.mean(), rel=1e-5, abs=1e-6
            )
            assert row["n_pairs"] == "25"
        kl = (np.exp(mixed["teacher"]) * (mixed["teacher"] - mixed["student"])).sum(1)
        row = found["test", "student"][k]
        assert float(row["kl_teacher_student"]) == pytest.approx(kl.mean(), rel=1e-5, abs=1e-6)
        assert found["test", "teacher"][k]["kl_teacher_student"] == ""
    curve = [[float(r["nl"]) for r in found["test", n]] for n in ("teacher", "student")]
    saved = metrics("run")
    assert saved["vicinal/test/student/nl_peak"] == max(curve[1])
    gains = [a - b for a, b in zip(*curve, strict=True)]
    assert saved["vicinal/test/delta_lin_peak"] == pytest.approx(max(gains))
    columns = [[float(row[name]) for row in found["test", "student"]] for name in GAINS]
    assert columns[0] == pytest.approx(gains)
    assert columns[1][0] == columns[1][-1] == 0 < min(columns[1][1:-1])
    for k, lam in ((1, 0.25), (2, 0.5), (3, 0.75)):
        key = f"vicinal/test/delta_lin_at_{lam}"
        assert [saved[key], saved[f"{key}_se"]] == [column[k] for column in columns]
    assert 0 < saved["vicinal/test/delta_lin_global_se"] < max(columns[1])
    assert {row[name] for row in found["test", "teacher"] for name in GAINS} == {""}
    assert Path("run/figures/vicinal-test.png").is_file()
    assert Path("run/figures/vicinal-train.svg").is_file()


def test_a_lone_network_is_called_network(mixkd: Mixkd) -> None:
    assert mixkd("evaluate", *DATA, *NETWORK, *MORE, "vicinal.splits=[test]", "run.dir=run") == 0
    assert list(rows("run")) == [("test", "network")]
    assert "vicinal/test/network/nl_global" in metrics("run")
    assert not [name for name in metrics("run") if "delta_lin" in name or "kl_" in name]


def test_a_baseline_is_compared_with(mixkd: Mixkd) -> None:
    quick = ["data.batch_size=16", "trainer.max_epochs=1", "callbacks=none"]
    network = ["network=resnet20", "network.args.depth=8"]
    assert mixkd("finetune", *DATA, *quick, *network, "run.dir=erm run") == 0
    overrides = ["vicinal.splits=[test]", "baselines.erm=erm run"]
    assert mixkd("evaluate", *DATA, *NETWORK, *MORE, *overrides, "run.dir=run") == 0
    found, saved = rows("run"), metrics("run")
    assert list(found) == [("test", "network"), ("test", "erm")]
    gains = [
        float(a["nl"]) - float(b["nl"])
        for a, b in zip(found["test", "erm"], found["test", "network"], strict=True)
    ]
    assert saved["vicinal/test/delta_lin_erm_peak"] == pytest.approx(max(gains))
    middle = found["test", "network"][2]
    assert float(middle["delta_lin_erm"]) == saved["vicinal/test/delta_lin_erm_at_0.5"]
    assert float(middle["delta_lin_erm_se"]) == saved["vicinal/test/delta_lin_erm_at_0.5_se"] > 0
    assert middle["delta_lin"] == found["test", "erm"][2]["delta_lin_erm"] == ""


@pytest.mark.parametrize("name", ["student", "network", "scaled_erm", "erm_se"])
def test_a_baseline_takes_no_ones_place(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    quick = ["data.batch_size=16", "trainer.max_epochs=1", "callbacks=none", "run.dir=erm"]
    assert mixkd("finetune", *DATA, *quick, *NETWORK[:2]) == 0
    assert mixkd("evaluate", *DATA, *NETWORK, f"baselines.{name}=erm") == 2
    assert f"{name} is no name for a baseline" in capsys.readouterr().err


def test_a_teacher_is_for_vicinal_analysis(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mixkd("evaluate", *DATA, *NETWORK, *TEACHER) == 2
    assert (
        "teacher: is asked between images or corrupted ones; add vicinal=true"
        in capsys.readouterr().err
    )
    assert mixkd("evaluate", *DATA, *NETWORK, *TEACHER, *MORE, "teacher.precision=bf16") == 2


def test_the_same_command_with_pairs_finds_its_own(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", *DATA, *NETWORK, *MORE, "vicinal.pairs=p.npz"]
    assert mixkd(*arguments) == 0
    assert Path("p.npz").is_file()
    assert mixkd(*arguments) == 0
    assert "finished before" in capsys.readouterr().out
    assert len(list(Path("runs/digits/evaluate").iterdir())) == 1
    np.savez("p.npz", i=[0, 1], j=[2, 3])  # other pairs are another experiment
    assert mixkd(*arguments) == 0
    assert len(list(Path("runs/digits/evaluate").iterdir())) == 2


def test_logits_that_are_not_finite_are_no_result(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load("teacher.pt", weights_only=True)
    state["linear.weight"][0] = 3e38  # finite, as weights have to be; its products are not
    torch.save(state, "teacher.pt")
    overrides = [*DATA, *NETWORK, *TEACHER, *MORE, "data.selection=test", "run.dir=run"]
    assert mixkd("evaluate", *overrides) == 1
    assert "the logits of teacher are not finite" in capsys.readouterr().err
    assert not Path("run/metrics.json").exists()


def test_temperature_is_not_measured_on_what_it_was_fitted_on(mixkd: Mixkd) -> None:
    data = ["data=digits", "data.limit_train=400", "data.limit_test=61", "data.batch_size=16"]
    network = ["network=resnet20", "network.args.depth=8", "trainer.max_epochs=2"]
    assert mixkd("finetune", *data, *network, "run.dir=trained") == 0
    overrides = ["network.run=trained", "splits=[val,test]", "vicinal.splits=[test]", *MORE]
    assert mixkd("evaluate", *overrides, "run.dir=run") == 0
    assert 0.05 < metrics("run")["test/scaled/temperature"] < 20
    assert metrics("run")["vicinal/test/network/nl_scaled_global"] > 0
    assert "val/scaled/ece" not in metrics("run")


def test_one_process_and_two_agree(mixkd: Mixkd) -> None:
    overrides = [*DATA, *NETWORK, *TEACHER, *MORE, "data.eval_batch_size=7", "trainer.threads=1"]
    assert mixkd("evaluate", *overrides, "run.dir=one") == 0
    assert mixkd("evaluate", *overrides, "trainer.devices=2", "run.dir=two") == 0
    assert metrics("two") == pytest.approx(metrics("one"), rel=1e-5, abs=1e-6)
    one, two = rows("one"), rows("two")
    for key, own in one.items():
        for a, b in zip(own, two[key], strict=True):
            for column, value in a.items():
                if column not in ("split", "network") and value:
                    assert float(b[column]) == pytest.approx(float(value), rel=1e-5, abs=1e-6)


def test_images_on_disk_are_measured_the_same(mixkd: Mixkd, image_folder: Path) -> None:
    torch.save(CifarResNet(8, 3).state_dict(), "student.pt")
    overrides = ["data=imagefolder", f"data.root={image_folder}", "data.size=16", *NETWORK, *MORE]
    assert mixkd("evaluate", *overrides, "run.dir=memory") == 0
    disk = ["data.resident=false", "data.workers=1", "run.dir=disk"]
    assert mixkd("evaluate", *overrides, *disk) == 0
    assert metrics("disk") == metrics("memory")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("vicinal=maybe", "vicinal.enabled: got 'maybe'; takes true or false"),
        ("vicinal.lambdas=2", "vicinal.lambdas: got 2; takes a whole number from 3 to 1001"),
        ("vicinal.n_pair=3", "vicinal.n_pair: no such key (did you mean n_pairs?)"),
        ("baselines.erm=nowhere", "baselines.erm.run: got 'nowhere'; no run there"),
        ("teacher=resnet21", "teacher: got 'resnet21'"),
        ("teacher.weights=w.pt", "teacher: none chosen; take teacher=NAME"),
    ],
)
def test_mistakes_get_one_message(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    assert mixkd("evaluate", *DATA, *NETWORK, word) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_what_is_not_asked_for_does_not_name_the_experiment(mixkd: Mixkd) -> None:
    assert mixkd("evaluate", *DATA, *NETWORK) == 0
    assert mixkd("evaluate", *DATA, *NETWORK, "vicinal.n_pairs=7", "vicinal=false") == 0
    assert len(list(Path("runs/digits/evaluate").iterdir())) == 1


def test_pairs_that_share_images_are_told(mixkd: Mixkd, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("own.npz", i=np.array([0, 0, 1]), j=np.array([1, 2, 3]))
    overrides = [*DATA, *NETWORK, *MORE, "vicinal.splits=[test]", "vicinal.pairs=own.npz"]
    assert mixkd("evaluate", *overrides) == 0
    assert "pairs of test share images" in capsys.readouterr().err
    np.savez("apart.npz", i=np.array([0, 2]), j=np.array([1, 3]))
    assert mixkd("evaluate", *overrides[:-1], "vicinal.pairs=apart.npz") == 0
    assert "share images" not in capsys.readouterr().err
