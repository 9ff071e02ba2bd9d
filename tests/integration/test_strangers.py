"""What comes from a stranger is data: nothing in it runs, and no secret of ours goes along."""

import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from mixkd.data.sources import safe_extraction

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
Said = pytest.CaptureFixture[str]
DATA = ["data=imagefolder", "data.root=images"]
SMALL = ["network=resnet20", "network.args.depth=8"]
QUICK = ["trainer.max_epochs=1", "data.batch_size=16", "data.pad=1", "callbacks=none"]


class Payload:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


PICKLED = pickle.dumps(Payload())
OBJECTS = np.array([Payload()], dtype=object)


def was_executed() -> bool:
    there = Path("executed").exists()
    shutil.rmtree("executed", ignore_errors=True)
    return there


@pytest.fixture(scope="module")
def trained() -> dict[str, Path]:
    """Where the run is that `run` has made."""
    return {}


@pytest.fixture
def run(
    mixkd: Mixkd,
    image_folder: Path,
    capsys: Said,
    trained: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished run, trained once, that a stranger is about to change."""
    if not trained:
        assert mixkd("finetune", *DATA, *SMALL, *QUICK, "run.dir=runs/theirs") == 0
        capsys.readouterr()
        trained["run"] = tmp_path_factory.mktemp("trained") / "theirs"
        shutil.copytree("runs/theirs", trained["run"])
    else:
        shutil.copytree(trained["run"], "runs/theirs")
    return Path("runs/theirs")


def test_the_payloads_work() -> None:
    pickle.loads(PICKLED)
    assert was_executed()
    np.save("objects.npy", OBJECTS, allow_pickle=True)
    np.load("objects.npy", allow_pickle=True)
    assert was_executed()
    yaml.unsafe_load("!!python/object/apply:os.mkdir [executed]")
    assert was_executed()


def test_files_of_numbers_are_never_unpickled(mixkd: Mixkd, run: Path, capsys: Said) -> None:
    torch.save({"state_dict": {"x": Payload()}}, "zip.pt")
    Path("plain.pt").write_bytes(PICKLED)
    Path("false.safetensors").write_bytes(PICKLED)
    arrays = dict.fromkeys(("i", "j", "logits", "label"), OBJECTS)
    np.savez("arrays.npz", **arrays)
    Path("shifted").mkdir()
    np.save("shifted/labels.npy", np.zeros(5, dtype=int))
    np.save("shifted/fog.npy", OBJECTS, allow_pickle=True)
    bare = ["evaluate", *DATA, *SMALL]
    shifted = ["data=cifar10_c", "data.root=shifted", "data.corruption=fog", "data.severity=1"]
    commands = [
        (bare, ["network.weights=zip.pt"], "network.weights: zip.pt cannot be read"),
        (bare, ["network.weights=plain.pt"], "network.weights: plain.pt cannot be read"),
        (bare, ["network.weights=false.safetensors"], "false.safetensors cannot be read"),
        (["evaluate"], ["logits=arrays.npz"], "logits: arrays.npz is no npz of arrays"),
        (
            ["evaluate", f"network.run={run}"],
            ["vicinal=true", "vicinal.pairs=arrays.npz"],
            "vicinal.pairs: arrays.npz holds no pairs",
        ),
        (["evaluate", f"network.run={run}"], shifted, "fog.npy cannot be read as an array"),
    ]
    for command, more, message in commands:
        assert mixkd(*command, *more) == 2, more
        errors = capsys.readouterr().err
        assert message in errors
        assert "Traceback" not in errors
        assert not was_executed(), more


def test_a_strangers_run_is_never_unpickled(mixkd: Mixkd, run: Path, capsys: Said) -> None:
    shutil.copytree(run, other := Path("runs/other"))
    np.savez(run / "predictions" / "test.npz", **dict.fromkeys(("index", "label"), OBJECTS))
    assert mixkd("compare", f"network.run={run}", f"other.run={other}") == 2
    mixkd("report", "runs=runs", "out=report")
    assert "predictions/test.npz is damaged" in Path("report/index.html").read_text()
    again = ["finetune", *DATA, *SMALL, *QUICK, f"run.dir={run}"]
    assert mixkd(*again, "run.force=true") == 0
    (cache,) = Path("cache/mixkd").glob("*.npy")
    np.save(cache, OBJECTS, allow_pickle=True)
    capsys.readouterr()
    assert mixkd(*again, "run.force=true") == 0
    assert f"{cache} is damaged; making it anew" in capsys.readouterr().err
    for name in ("last", "best"):
        (run / "checkpoints" / f"{name}.ckpt").write_bytes(PICKLED)
    (run / "status.json").write_text('{"state": "interrupted"}')
    assert mixkd(*again) == 2
    errors = capsys.readouterr().err
    assert "last.ckpt cannot be read" in errors
    assert "Traceback" not in errors
    assert not was_executed()


def test_a_strangers_configuration_calls_nothing(
    mixkd: Mixkd, run: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "value-of-planted")
    own = (run / "config.yaml").read_text()
    evaluate = ["evaluate", f"network.run={run}"]

    def changed(**network: object) -> str:
        config = yaml.safe_load(own)
        config["network"] |= network
        return yaml.safe_dump(config)

    call: dict[str, object] = {"name": None, "factory": "os.mkdir", "args": {"path": "executed"}}
    target = {"_target_": "os.mkdir", "path": "executed"}
    for text, message in [
        ("task: !!python/object/apply:os.mkdir [executed]", "is no run's configuration"),
        (own + "x: !!python/object/new:os.system [mkdir executed]", "is no run's configuration"),
        (changed(**call), "names the callable os.mkdir; mixkd calls it only if you trust its"),
        (changed(args=target), "names the callable os.mkdir; mixkd calls it only if you trust its"),
        (changed(args={"checkpoint_path": "x.pt"}, name="resnet18", factory=None), "got checkpoi"),
        (changed(name="${oc.env:PLANTED}", factory=None), "timm has no model '${oc.env:PLANTED}'"),
    ]:
        (run / "config.yaml").write_text(text)
        assert mixkd(*evaluate) == 2, text
        errors = capsys.readouterr().err
        assert message in errors
        assert "Traceback" not in errors
        assert "value-of-planted" not in errors
        mixkd("report", "runs=runs", "out=report")
        assert mixkd("list", "runs") == 0
        assert not was_executed(), text
        assert "value-of-planted" not in Path("report/index.html").read_text()
    (run / "config.yaml").write_text(changed(**call))  # it would have worked
    assert mixkd(*evaluate, "trust=[os]") != 0
    assert was_executed()


def test_a_strangers_run_does_not_say_where_to_write(mixkd: Mixkd, run: Path, capsys: Said) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["cache_dir"] = "elsewhere"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert mixkd("evaluate", f"network.run={run}") == 0
    assert not Path("elsewhere").exists()
    record = {"scale": "../../elsewhere", "protocol": "corrected", "artefacts": [], "data": {}}
    record |= {"about": "", "datasets": {}, "teachers": {}, "student": "", "expected": []}
    Path("runs/reproduction-x.json").write_text(json.dumps(record))
    assert mixkd("report", "runs=runs") == 0
    assert "passed over: runs/reproduction-x.json is damaged" in capsys.readouterr().err
    assert mixkd("report", "runs=runs", "scale=x") == 2
    assert "its scale is '../../elsewhere'" in capsys.readouterr().err
    assert not Path("elsewhere").exists()
    assert not list(Path().glob("**/elsewhere*"))


def test_an_export_takes_nothing_from_elsewhere(mixkd: Mixkd, run: Path, capsys: Said) -> None:
    Path("secret.json").write_text('{"git": "s3cret"}')
    Path("report").mkdir()
    Path("report/claims.md").symlink_to(Path("secret.json").absolute())
    export = ["export", f"network.run={run}", "out=there"]
    assert mixkd(*export, "report=report") == 2
    assert "report: report/claims.md is damaged: it is a link out" in capsys.readouterr().err
    for name in ("provenance.json", "metrics.json", "config.yaml", "weights.safetensors",
                 "figures/reliability-test.png"):  # fmt: skip
        file, kept = run / name, Path("kept")
        file.parent.mkdir(exist_ok=True)
        if was_there := file.exists():
            file.rename(kept)
        file.symlink_to(Path("secret.json").absolute())
        assert mixkd(*export) == 2, name
        said = capsys.readouterr().err
        assert "a link out of its folder" in said
        assert "s3cret" not in said
        file.unlink()
        if was_there:
            kept.rename(file)
    assert not Path("there").exists()
    run.rename(strange := run.with_name("<img src=x>[a](http:b)\x1b[2J"))
    assert mixkd("export", f"network.run={strange}", "out=there") == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    readme = Path("there/README.md").read_text().partition("\n---\n")[2]
    assert "# &lt;img src=x>[a\\](http:b)" in readme
    assert "<img" not in readme


class Page(HTMLParser):
    """Counts scripts and other elements, and keeps what could run or fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.handlers, self.links, self.tags = 0, list[str](), list[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [str(value) for name, value in attrs if name in ("href", "src", "action")]


def test_the_page_shows_a_strangers_words_and_runs_none(mixkd: Mixkd, run: Path) -> None:
    script, handler = "<script>alert(1)</script>", '" onmouseover="alert(1)'
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["network"]["name"] = f"=cmd {script}{handler}"
    config["data"]["name"] = f"{script}{handler}"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    record = json.loads((run / "provenance.json").read_text())
    record |= {"command": [script, handler, "javascript:alert(1)"], "device": script + handler}
    record["git"] = record["packages"]["torch"] = script + handler
    (run / "provenance.json").write_text(json.dumps(record))
    run.rename(theirs := run.with_name(f"a{handler}<img src=x onerror=alert(1)>"))
    mixkd("report", "runs=runs", "out=report")
    text = Path("report/index.html").read_text()
    assert theirs.name.partition("<")[0] not in text  # escaped
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    page = Page(text)
    assert page.scripts == 1
    assert page.handlers == []
    assert not {"img", "iframe", "object", "form"} & page.tags or "img src=x" not in text
    assert all(link.startswith(("#", "data:image/svg+xml;base64,", "data:,", "http"))
               or link.endswith((".md", ".csv", ".tex", ".svg", ".png"))
               for link in page.links)  # fmt: skip
    for file in Path("report").rglob("*.md"):
        assert "<script" not in file.read_text()
    for file in Path("report").rglob("*.csv"):
        assert not [line for line in file.read_text().splitlines() if line[:1] in ("=", "@")]


def members() -> Iterator[tuple[str, tarfile.TarInfo]]:
    for name in ("../out", "a/../../out"):
        yield name, tarfile.TarInfo(name)
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, ".."
    yield "a link out", link
    hard = tarfile.TarInfo("hard")
    hard.type, hard.linkname = tarfile.LNKTYPE, "../secret"
    yield "a hard link out", hard
    device = tarfile.TarInfo("device")
    device.type = tarfile.CHRTYPE
    yield "a device", device


@pytest.mark.parametrize("member", [m for _, m in members()], ids=[name for name, _ in members()])
def test_archives_unpack_within_their_folder(member: tarfile.TarInfo, tmp_path: Path) -> None:
    from torchvision.datasets.utils import extract_archive

    Path("secret").write_text("secret")
    with tarfile.open("bad.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("good"), io.BytesIO())
        archive.addfile(member, io.BytesIO())
    before = sorted(tmp_path.iterdir())
    with safe_extraction(), pytest.raises(tarfile.FilterError):
        extract_archive("bad.tar", "place")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "place"])
    assert [p.name for p in Path("place").iterdir()] == ["good"]


def test_links_and_odd_names_in_a_folder_of_images_are_only_read(
    mixkd: Mixkd, image_folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(image_folder / "train" / "red", outside)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in outside.iterdir()}
    name = "<script>..$(mkdir executed);"
    for split in ("train", "test"):
        (image_folder / split / "red").rename(image_folder / split / name)
    (image_folder / "train" / name / "link").symlink_to(outside)
    (image_folder / "train" / name / "circle").symlink_to(image_folder)
    assert mixkd("finetune", *DATA, *SMALL, *QUICK, "run.dir=runs/run") == 0
    overrides = ["network.run=runs/run", "corruptions=true", "corruptions.names=[fog]"]
    assert (
        mixkd("evaluate", *overrides, "data.resident=false", "data.size=16", "data.workers=0") == 0
    )
    assert not was_executed()
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in outside.iterdir()} == before


def test_metadata_of_weights_are_words(mixkd: Mixkd, run: Path, capsys: Said) -> None:
    weights = safetensors.torch.load_file(run / "weights.safetensors")
    for classes in ('[1, {"a": 2}, null]', '"text"', "{broken", "7"):
        file = run / "weights.safetensors"
        safetensors.torch.save_file(weights, file, {"classes": classes})
        assert mixkd("evaluate", f"network.run={run}") == 2
        errors = capsys.readouterr().err
        assert "was trained on the " in errors or "cannot be read as safetensors" in errors
        assert "Traceback" not in errors


KEY, TOKEN, PASSWORD = "0123456789abcdef" * 2 + "01234567", "hf_" + "Ab3" * 11, "kd-very-s3cret"


def failing(**args: str) -> None:
    raise RuntimeError(f"no access with {args} at https://me:{PASSWORD}@example.org/x?token={KEY}")


def test_no_secret_is_printed_kept_or_sent(
    mixkd: Mixkd, image_folder: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WANDB_API_KEY": KEY, "HF_TOKEN": TOKEN, "MY_PASSWORD": PASSWORD}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    tags = f"logger.wandb.tags=[password={PASSWORD},{TOKEN}]".replace("[password=", "['password=")
    tags = tags.replace(f"{PASSWORD},", f"{PASSWORD}',")
    setup = f"logger.wandb.group='{KEY}'"
    overrides = [*DATA, *QUICK, "logger=[csv,tensorboard,wandb]", tags, setup]
    assert mixkd("finetune", *overrides, *SMALL, "run.dir=run") == 0
    # A run that fails, while it works: what it says is in status.json too.
    from mixkd.callbacks.recorder import Recorder

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_epoch_end", lambda *_: failing(key=KEY))
        assert mixkd("finetune", *overrides, *SMALL, "run.dir=failed") == 1
    # A network that cannot be made: what was got is in the message.
    factory = f"network.factory={__name__}.failing"
    assert mixkd("finetune", *DATA, *QUICK, factory, f"network.args.api_key={KEY}") == 2
    assert mixkd("finetune", "-m", *DATA, *QUICK, factory, f"network.args.api_key={KEY}") != 0
    captured = capsys.readouterr()
    assert "no access with" in captured.err
    assert json.loads(Path("failed/status.json").read_text())["state"] == "failed"
    texts = {"out": captured.out.encode(), "err": captured.err.encode()}
    files = [p for folder in ("run", "failed", "runs") for p in Path(folder).rglob("*")]
    texts |= {str(p): p.read_bytes() for p in files if p.is_file()}
    assert len([name for name in texts if "offline-run" in name and name.endswith(".wandb")]) == 2
    for name, text in texts.items():
        for secret in (KEY, TOKEN, PASSWORD):
            assert secret.encode() not in text, name
