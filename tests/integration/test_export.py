"""`mixkd export`, as a user types it, and the ways back."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from torch import Tensor

from mixkd import load_network
from mixkd.errors import UserError
from mixkd.export.card import without_places
from mixkd.export.formats import Program, resizing
from mixkd.launchers.job import run_job
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.network import Network
from mixkd.request import request

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
SHORT = [
    "data=digits", "data.size=32", "data.limit_train=128", "data.limit_test=60",
    "trainer.max_epochs=1", "callbacks=none", "trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A CIFAR ResNet, a student of it with the paper's head, and two that timm can build."""
    root = tmp_path_factory.mktemp("runs")

    def run(command: str, *overrides: str) -> Path:
        outcome = run_job(command, [*SHORT, f"run.root={root}", *overrides])
        assert outcome.status == 0, outcome.text
        return Path(outcome.path)

    resnet = run("finetune", "network=resnet20", "network.args.depth=8")
    return {
        "resnet": resnet,
        "student": run("distill", f"teacher.run={resnet}", "student.args.width=0.35"),
        "vit": run("finetune", "network=timm", "network.name=test_vit", "network.args.img_size=32"),
        "mobilenet": run(
            "finetune", "network=mobilenetv2", "network.args.width=0.35", "network.head=null"
        ),
    }


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def config_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text()))


def run_the_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Execute the code of a card, within its folder; return how many pieces there were."""
    pieces: list[str] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        for piece in pieces:
            exec(piece, {})
    return len(pieces)


@pytest.mark.parametrize("name", ["vit", "mobilenet"])
def test_timm_loads_what_it_can_build(
    name: str, runs: dict[str, Path], mixkd: Mixkd, images: Tensor,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert mixkd("export", f"network.run={runs[name]}") == 0
    out = Path("export") / f"{runs[name].name}-safetensors"
    output = capsys.readouterr().out
    assert f"{out}: README.md, config.json, model.safetensors, reliability.png" in output
    assert "loads in timm and mixkd" in output
    model = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    look = timm.data.resolve_model_data_config(model)
    assert list(look["input_size"]) == [3, 32, 32]
    assert model.pretrained_cfg["label_names"] == [str(k) for k in range(10)]
    with torch.inference_mode():
        own = Network(model, look["mean"], look["std"])(images)
        network, classes = load_network(str(out))
        torch.testing.assert_close(own, network(images))
    assert classes == [str(k) for k in range(10)]
    assert "library_name: timm" in (out / "README.md").read_text()
    assert run_the_card(out, monkeypatch) == 2
    weights = (runs[name] / "weights.safetensors").read_bytes()
    assert (out / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("name", ["resnet", "student", "vit"])
def test_evaluating_it_is_evaluating_the_run(
    name: str, runs: dict[str, Path], mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["trainer.accelerator=cpu", "trainer.channels_last=false"]
    assert mixkd("export", f"network.run={runs[name]}", "out=there") == 0
    assert mixkd("evaluate", f"network.run={runs[name]}", "run.dir=one", *overrides) == 0
    assert mixkd("evaluate", "network.export=there", "run.dir=two", *overrides) == 0
    one, two = (json.loads(Path(run, "metrics.json").read_text()) for run in ("one", "two"))
    assert one == two
    assert one["test/n"] == 60
    if name != "vit":
        card = Path("there/README.md").read_text()
        assert "architecture" not in config_of(Path("there"))
        assert "timm does not" in card
        assert "library_name: mixkd" in card
        assert run_the_card(Path("there"), monkeypatch) == 1


def test_the_hub_gives_it_back(
    runs: dict[str, Path], mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mixkd("export", f"network.run={runs['resnet']}", "out=there") == 0
    asked: list[tuple[str, Any, Any]] = []

    def snapshot_download(name: str, *, revision: Any, allow_patterns: Any, **more: Any) -> str:
        asked.append((name, revision, allow_patterns))
        return "there"

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert mixkd("evaluate", "network=hf_hub:user/name@v1", "run.dir=back") == 0
    assert asked[0] == ("user/name", "v1", ["config.json", "model.safetensors"])
    overrides = ["teacher=hf_hub:user/teacher", "student=hf_hub:user/student"]
    cfg = request("distill", [*SHORT, *overrides])
    assert cfg.teacher.weights == cfg.student.weights == "there/model.safetensors"
    assert cfg.student.args == {"depth": 8}
    assert {name for name, *_ in asked[-2:]} == {"user/teacher", "user/student"}
    with pytest.raises(UserError, match=r"teacher\.export: hf_hub:user/teacher may have trained"):
        request("distill", [*SHORT, *overrides, "data.split_seed=1"])


def test_onnx_agrees_and_says_what_it_takes(
    runs: dict[str, Path], mixkd: Mixkd, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"network.run={runs['resnet']}", "network.input_size=24"]
    assert mixkd("export", *overrides, "format=onnx", "out=there") == 0
    session = onnxruntime.InferenceSession("there/model.onnx")
    core = CifarResNet(8, 10)
    core.load_state_dict(load_network_weights(runs["resnet"]))
    network = Network(core, input_size=24).eval()  # resizing is within the graph, antialiased
    for batch in (images, images[:1]):
        (found,) = session.run(None, {"image": batch.numpy()})
        with torch.inference_mode():
            expected = network(batch)
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == [str(k) for k in range(10)]
    assert json.loads(about["mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(about["input_size"]) == [32, 32]
    metrics = json.loads((runs["resnet"] / "metrics.json").read_text())
    assert json.loads(about["temperature"]) == metrics.get("test/scaled/temperature")
    assert run_the_card(Path("there"), monkeypatch) == 1
    assert mixkd("evaluate", "network.export=there") == 2  # it holds no weights to load


def load_network_weights(run: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(run / "weights.safetensors")


def test_a_torch_program_agrees(
    runs: dict[str, Path], mixkd: Mixkd, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mixkd("export", f"network.run={runs['resnet']}", "format=torch", "out=there") == 0
    files = {"mixkd.json": ""}
    program = torch.export.load("there/model.pt2", extra_files=files).module()
    core = CifarResNet(8, 10)
    core.load_state_dict(load_network_weights(runs["resnet"]))
    with torch.inference_mode():
        for batch in (images, images[:1]):
            torch.testing.assert_close(program(batch), Network(core).eval()(batch))
    assert json.loads(files["mixkd.json"])["classes"] == [str(k) for k in range(10)]
    assert run_the_card(Path("there"), monkeypatch) == 1


@pytest.mark.parametrize(("side", "size"), [(40, 24), (24, 40), (32, 224)])
def test_resizing_is_the_networks_own(side: int, size: int) -> None:
    image = torch.rand(2, 3, side, 32)
    rows, columns = resizing(side, size), resizing(32, size)
    expected = torch.nn.functional.interpolate(image, (size, size), mode="bilinear", antialias=True)
    torch.testing.assert_close(rows @ image @ columns.T, expected, atol=2e-6, rtol=0)


def test_the_card_says_what_is_known(runs: dict[str, Path], mixkd: Mixkd) -> None:
    Path("report").mkdir()
    Path("report/claims.md").write_text("# The paper's claims\n")
    overrides = ["report=report", "license=mit", "out=there"]
    assert mixkd("export", f"network.run={runs['student']}", *overrides) == 0
    text = Path("there/README.md").read_text()
    card, metrics = ModelCard(text), json.loads((runs["student"] / "metrics.json").read_text())
    values = {r.metric_type: r.metric_value for r in card.data.eval_results or []}
    assert values["ece"] == metrics["test/ece"]
    assert set(values) == {"accuracy", "confidence", "ece", "signed_gap", "nll", "brier"}
    assert card.data.license == "mit"
    assert f"| {metrics['test/ece']:.4f} |" in text
    assert "On 60 test images." in text
    provenance = json.loads((runs["student"] / "provenance.json").read_text())
    for known in ("`kd_mixup`", "resnet20 {'depth': 8}", "`2.0`", "![Reliability",
                  provenance["fingerprints"]["teacher"], provenance["fingerprints"]["data"],
                  "(claims.md)", "knowledge-distillation", "16 test images"):  # fmt: skip
        assert known in text, known
    assert Path("there/claims.md").is_file()
    if "test/scaled/temperature" in metrics:
        assert f"as it is, T = {metrics['test/scaled/temperature']:.2f}" in text
    assert str(runs["student"].parents[2]) not in text  # no place on this machine


def test_a_strangers_run_is_shown_not_obeyed(runs: dict[str, Path], mixkd: Mixkd) -> None:
    shutil.copytree(runs["resnet"], "run")
    record = json.loads(Path("run/provenance.json").read_text())
    record["command"] = ["mixkd", "a\n# Heading", "data.root=/home/me/secret/images", "x=`|<b>"]
    record["git"] = "a | b `c`\n\n# Another"
    Path("run/provenance.json").write_text(json.dumps(record))
    assert mixkd("export", "network.run=run", "out=there") == 0
    text = Path("there/README.md").read_text()
    assert "    mixkd a # Heading data.root=images x=`|<b>\n" in text
    assert "\n# Heading" not in text
    assert "| mixkd's revision | `a \\| b 'c' # Another` |" in text
    assert "/home/me" not in text


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data.root=/home/me/images", "data.root=images"),
        ("baselines={a:/x/y/run,b:~/z/other}", "baselines={a:run,b:other}"),
        ("teacher.run=runs/digits/a-b", "teacher.run=runs/digits/a-b"),
        ("network=hf_hub:user/name@v1", "network=hf_hub:user/name@v1"),
        ("/usr/bin/mixkd", "mixkd"),
    ],
)
def test_places_are_left_out_of_commands(word: str, expected: str) -> None:
    assert without_places(word) == expected


class Hub:
    """Records what is asked of HfApi."""

    calls: list[tuple[Any, ...]]

    def __init__(self, **about: Any) -> None:
        assert about["library_name"] == "mixkd"

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> Any:
        if name == "user/taken":
            raise OSError("403 Forbidden\nmore")
        Hub.calls.append(("create", name, private, exist_ok))
        return SimpleNamespace(repo_id=name)

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, delete_patterns: list[str], commit_message: str
    ) -> None:
        assert {"model.safetensors", "model.onnx", "claims.md"} <= set(delete_patterns)
        Hub.calls.append(("upload", repo_id, sorted(p.name for p in Path(folder_path).iterdir())))


def test_a_push_uploads_the_folder(
    runs: dict[str, Path], mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    Hub.calls = []
    overrides = [f"network.run={runs['mobilenet']}", "out=there"]
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert mixkd("export", *overrides, "push=hf_hub:user/name") == 2
    assert "push: needs a token" in capsys.readouterr().err
    assert not Path("there").exists()
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    assert mixkd("export", *overrides, "push=hf_hub:user/taken") == 2
    said = "push: the Hub refused hf_hub:user/taken (403 Forbidden); the export is in there"
    assert said in capsys.readouterr().err
    assert mixkd("export", *overrides, "push=hf_hub:user/name", "push_private=true") == 0
    files = ["README.md", "config.json", "model.safetensors", "reliability.png"]
    assert Hub.calls == [("create", "user/name", True, True), ("upload", "user/name", files)]
    text = Path("there/README.md").read_text()
    assert 'timm.create_model("hf-hub:user/name", pretrained=True)' in text
    assert "mixkd evaluate network=hf_hub:user/name" in text
    assert mixkd("export", *overrides, "push=user/name") == 2
    assert "push: got 'user/name'; takes hf_hub:USER/NAME" in capsys.readouterr().err


def test_what_cannot_be_is_refused(
    runs: dict[str, Path], mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refused(message: str, *overrides: str) -> None:
        assert mixkd("export", *overrides) == 2
        assert message in capsys.readouterr().err

    run = f"network.run={runs['mobilenet']}"
    with monkeypatch.context() as patch:
        patch.setattr(Program, "forward", lambda self, image: self.core(image))  # not normalised
        refused("format: the logits of torch differ by", run, "out=there", "format=torch")
        assert not list(Path().glob("*there*"))
        patch.setitem(__import__("sys").modules, "onnxscript", None)
        refused("pip install 'mixkd[onnx]'", run, "format=onnx")
    refused(
        "format: got 'onx'; takes safetensors, onnx, torch (did you mean onnx?)", run, "format=onx"
    )
    refused("network.run: got null; takes the directory of a finished run")
    refused("options: got -m; `mixkd export` takes one run", "-m", run)
    refused("report: got 'there'; takes a folder of `mixkd report`", run, "report=there")
    Path("full").mkdir()
    Path("full/file").touch()
    refused("out: full holds file; takes an empty or a new", run, "out=full", "force=true")
    assert mixkd("export", run, "out=own") == mixkd("export", run, "out=own") == 0
    other = f"network.run={runs['resnet']}"
    capsys.readouterr()
    Path("own/.git").mkdir()  # the clone of a repository, say
    refused("out: own holds .git; takes an empty or a new", run, "out=own", "force=true")
    Path("own/.git").rmdir()
    refused("out: own holds another export; force=true replaces it", other, "out=own")
    assert mixkd("export", other, "out=own", "force=true") == 0
    assert "architecture" not in config_of(Path("own"))


def test_an_export_from_a_stranger_is_data(
    runs: dict[str, Path], mixkd: Mixkd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mixkd("export", f"network.run={runs['resnet']}", "out=there") == 0
    found = config_of(Path("there"))

    def refused(message: str, *arguments: str) -> None:
        assert mixkd("evaluate", "network.export=there", *arguments) == 2
        assert message in capsys.readouterr().err

    weights = Path("there/model.safetensors").read_bytes()
    Path("there/model.safetensors").write_bytes((runs["vit"] / "weights.safetensors").read_bytes())
    refused("network.export: there/config.json is of other weights than model.safetensors beside")
    Path("there/model.safetensors").write_bytes(weights)
    found["mixkd"]["network"] |= {"factory": "os.system", "args": {"command": "touch made"}}
    Path("there/config.json").write_text(json.dumps(found))
    refused("network.export: that export names the callable os.system; mixkd calls it only if")
    assert not Path("made").exists()
    with pytest.raises(UserError, match=r"the callable os\.system"):
        load_network("there")
    look = {"mean": [0, 0, 0], "std": [1, 1, 1], "input_size": [3, 8, 8]}
    for strange in ([], "[" * 10**5, look, {"architecture": "resnet18", **look},
                    {"architecture": "resnet18", "num_classes": "x", **look},
                    {"architecture": "resnet18", "num_classes": float("inf"), **look},
                    {"architecture": "resnet18", "label_names": {"a": 0}, **look}):  # fmt: skip
        text = strange if isinstance(strange, str) else json.dumps(strange)
        Path("there/config.json").write_text(text)
        refused("network.export: there/config.json is of no network that timm or mixkd knows")
        with pytest.raises(UserError, match="is of no network that timm or mixkd knows"):
            load_network("there")
    Path("there/config.json").write_text("[]")
    refused("network.export: there/config.json is of no network that timm or mixkd knows")
    refused("network.export: got 'nowhere'; no export there", "network.export=nowhere")


def test_timms_own_folder_is_taken_where_the_data_are_named(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=10)
    timm.models.save_for_hf(model, "theirs", safe_serialization=True)
    assert mixkd("evaluate", "network.export=theirs") == 2
    assert "data: no data set chosen" in capsys.readouterr().err
    overrides = [
        "data=digits",
        "data.limit_train=100",
        "data.limit_test=60",
        "trainer.accelerator=cpu",
    ]
    assert mixkd("evaluate", "network.export=theirs", *overrides, "run.dir=run") == 0
    network, classes = load_network("theirs")
    assert network.input_size == model.pretrained_cfg["input_size"][-1]
    assert classes == [str(k) for k in range(10)]
    assert np.isfinite(json.loads(Path("run/metrics.json").read_text())["test/nll"])
    own, names = [str(k) for k in range(10)], ["one", *(str(k) for k in range(1, 10))]
    for told, status in ((own[::-1], 2), (names, 0)):  # the latter may be spelt in another way
        timm.models.save_for_hf(
            model, "told", model_config={"label_names": told}, safe_serialization=True
        )
        assert (
            mixkd("evaluate", "network.export=told", *overrides, f"run.dir=told-{status}") == status
        )
    assert "was trained on the 10 classes 9, 8, 7" in capsys.readouterr().err


def test_without_its_images_seeded_noise_is_compared(
    runs: dict[str, Path], mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def gone(_: object) -> None:
        raise UserError.of("data.root", "no such folder")

    monkeypatch.setattr("mixkd.tasks.export.load_splits", gone)
    run = f"network.run={runs['mobilenet']}"
    assert mixkd("export", run, "out=there") == 0
    assert "on seeded noise" in capsys.readouterr().out
    assert mixkd("export", run, "out=there", "data.size=null") == 2
    assert "data.size: got null, and the run's images are not at hand" in capsys.readouterr().err
