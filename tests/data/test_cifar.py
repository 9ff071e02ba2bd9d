"""CIFAR through torchvision, from small archives of the published form."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from mixkd.data.splits import Splits, load_splits
from mixkd.errors import UserError
from mixkd.request import request


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the test's folder on this machine's own address."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def write_archive(
    path: Path, kind: Any, per_file: int, server: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict[str, Any]]:
    """Write an archive of `kind` with `per_file` images a file, and set torchvision's checksums."""
    classes = 10 if kind is torchvision.datasets.CIFAR10 else 100
    key = "labels" if classes == 10 else "fine_labels"
    rng, contents, checksums = np.random.default_rng(0), {}, {}
    names = [name for name, _ in kind.train_list + kind.test_list]
    for name in names:
        entry = {
            "data": rng.integers(0, 256, (per_file, 3072), dtype=np.uint8),
            key: [k % classes for k in range(per_file)],
        }
        contents[name] = entry
    meta = {kind.meta["key"]: [f"class{k:02d}" for k in range(classes)]}
    with tarfile.open(path, "w:gz") as archive:
        for name, entry in {**contents, kind.meta["filename"]: meta}.items():
            content = pickle.dumps(entry)
            checksums[name] = md5(content)
            info = tarfile.TarInfo(f"{kind.base_folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    monkeypatch.setattr(kind, "train_list", [[n, checksums[n]] for n, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[n, checksums[n]] for n, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": checksums[kind.meta["filename"]]})
    monkeypatch.setattr(kind, "url", f"{server}/{path.name}")
    monkeypatch.setattr(kind, "tgz_md5", md5(path.read_bytes()))
    return contents


def load(name: str, *overrides: str) -> Splits:
    return load_splits(request("finetune", ["network=resnet20", f"data={name}", *overrides]).data)


@pytest.mark.parametrize(
    ("name", "kind", "per_file", "train"),
    [
        ("cifar10", torchvision.datasets.CIFAR10, 40, 200),
        ("cifar100", torchvision.datasets.CIFAR100, 1200, 1200),
    ],
)
def test_an_archive_is_downloaded_checked_and_read(
    name: str,
    kind: Any,
    per_file: int,
    train: int,
    tmp_path: Path,
    server: str,
    monkeypatch: Any,
    mixkd: Callable[..., int],
) -> None:
    contents = write_archive(tmp_path / kind.filename, kind, per_file, server, monkeypatch)
    splits = load(name, "data.root=here", "data.download=true")
    val = round(train * 0.1)
    assert [len(splits[s]) for s in ("train", "val", "test")] == [
        train - val, val, per_file,
    ]  # fmt: skip
    image = contents[kind.test_list[0][0]]["data"][3].reshape(3, 32, 32)  # planes of R, G, B
    assert torch.equal(splits.test.pixels[3], torch.from_numpy(image))
    assert splits.test.labels[3] == 3
    assert splits.classes[7] == "class07"
    load(name, "data.root=here", "data.download=false")  # once fetched, no download
    overrides = ["network=resnet20", "network.args.depth=8", "trainer.max_epochs=1"]
    assert (
        mixkd("finetune", f"data={name}", "data.root=here", "data.batch_size=99", *overrides) == 0
    )


def test_a_damaged_archive_is_refused(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = torchvision.datasets.CIFAR10
    write_archive(tmp_path / kind.filename, kind, 20, server, monkeypatch)
    load("cifar10", "data.root=here")
    batch = next(Path("here").rglob("data_batch_2"))
    batch.write_bytes(batch.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"data.root: no intact cifar10 in 'here'"):
        load("cifar10", "data.root=here", "data.download=false")


def test_absent_files_say_what_to_do(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"data.download=true fetches it"):
        load("cifar10", "data.root=nowhere", "data.download=false")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", f"{server}/absent.tar.gz")
    with pytest.raises(UserError, match=r"the download failed; put cifar-10-python.tar.gz"):
        load("cifar10", "data.root=nowhere")
