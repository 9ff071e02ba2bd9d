"""`mixkd export`: a trained network for other tools, checked, with a model card."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixkd.config.tasks import ExportConfig
from mixkd.data.batches import make_views
from mixkd.data.images import Images
from mixkd.data.splits import load_splits
from mixkd.errors import UserError, shortened
from mixkd.export import hub
from mixkd.export.card import Facts, card
from mixkd.export.formats import Program, difference, save_onnx, save_safetensors, save_torch
from mixkd.export.record import about, record
from mixkd.files.layout import CONFIG, FIGURES, METRICS, PROVENANCE
from mixkd.files.reading import Damaged, is_number, read_bytes
from mixkd.files.writing import (
    file_fingerprint,
    read_json,
    replacing_folder,
    write_json,
    write_text,
)
from mixkd.networks.build import build_network
from mixkd.networks.checks import check_logits
from mixkd.networks.weights import read_tensors
from mixkd.redact import redact

# Of the largest logit, in size (at least 1). Another order of summation in float32 changes a
# network's logits by some 1e-6 of that; a network that is built or fed otherwise, by far more. No
# probability changes by more than half of the logits' largest difference.
TOLERANCE = 1e-4

COMPARED = 16  # images


def export(cfg: ExportConfig) -> str:
    """Write a folder with the network of a finished run, and push it where asked; return a message.

    Raises:
        UserError: if the run, the folder or the network is not fit for it, or the Hub refuses.
    """
    if cfg.push is not None:
        hub.check_token()
    assert cfg.network.run is not None
    assert cfg.network.weights is not None
    run, weights = Path(cfg.network.run), Path(cfg.network.weights)
    claims = None
    if cfg.report is not None:
        claims = _content(Path(cfg.report, "claims.md"), Path(cfg.report), "report")
        if claims is None:
            raise UserError.of("report", f"got {cfg.report!r}; takes a folder of `mixkd report`")
    figure = _content(run / FIGURES / "reliability-test.png", run, "network.run")
    training, provenance = (_read(run / name) for name in (CONFIG, PROVENANCE))
    metrics = {n: float(v) for n, v in _read(run / METRICS).items() if is_number(v)}
    fingerprint = file_fingerprint(weights)
    name = run.resolve().name
    out = Path(cfg.out or f"export/{name}-{cfg.format}")
    _refuse_another(out, fingerprint, cfg)

    _, classes = read_tensors(weights, "network.run")
    if classes is None:
        raise UserError.of("network.run", f"{weights} bears no class names")
    network = build_network(cfg.network, classes, "network")
    views, images = _images(cfg, classes, network.input_size)
    check_logits(network, len(classes), views, "network")
    network.eval()
    temperature = metrics.get("test/scaled/temperature")
    saved = redact(record(cfg, network, classes, views, fingerprint, temperature))

    with replacing_folder(out) as folder:
        write_json(folder / "config.json", saved)
        if cfg.format == "safetensors":
            ask = save_safetensors(weights, saved, folder, cfg.trust)
        else:
            save = {"onnx": save_onnx, "torch": save_torch}[cfg.format]
            ask = save(Program(network, views).eval(), views, folder, about(saved))
        inputs = "seeded noise" if images is None else f"{len(images)} test images"
        if images is None:
            images = torch.rand(COMPARED, 3, *views, generator=torch.Generator().manual_seed(0))
        apart, scale = difference(network, ask, [images[:1], images[1:]])
        if not apart <= TOLERANCE * max(scale, 1):
            raise UserError.of(
                "format",
                f"the logits of {cfg.format} differ by {apart:.2g} from the network's on {inputs}, "
                f"whose largest is {scale:.3g}; takes {TOLERANCE:g} of that at most. Nothing was "
                "written",
            )
        if figure is not None:
            (folder / "reliability.png").write_bytes(figure)
        if claims is not None:
            (folder / "claims.md").write_bytes(claims)
        facts = Facts(
            name=cfg.push.rpartition("/")[2] if cfg.push else name,
            record=saved,
            training=training,
            metrics=metrics,
            provenance=provenance,
            difference=apart,
            scale=scale,
            images=inputs,
            figure=figure is not None,
            ledger=claims is not None,
            license=cfg.license,
            address=cfg.push,
        )
        write_text(folder / "README.md", card(facts))
    lines = [f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}"]
    lines.append(f"logits differ by at most {apart:.2g} on {inputs}; the largest is {scale:.3g}")
    if cfg.format == "safetensors":
        loaders = "timm and mixkd" if facts.by_timm else "mixkd; timm has none such"
        lines.append(f"loads in {loaders}")
    if cfg.push is not None:
        lines.append(f"pushed: {hub.push(out, cfg.push, cfg.push_private)}")
    return "\n".join(lines)


def _refuse_another(out: Path, weights: str, cfg: ExportConfig) -> None:
    """Refuse a folder that holds anything but an export, or without `force` but this very one."""
    try:
        held = set(os.listdir(out))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", error)
        raise UserError.of("out", f"got {shortened(str(out))}: {why}; takes a folder") from error
    if not held:
        return
    other = out / "config.json"
    saved = read_json(other, "out").get("mixkd") if other.is_file() else None
    if not isinstance(saved, dict) or held - hub.WRITTEN:
        files = ", ".join(sorted(held - hub.WRITTEN)[:3]) or "something else"
        raise UserError.of("out", f"{out} holds {files}; takes an empty or a new folder")
    if (saved.get("weights"), saved.get("format")) != (weights, cfg.format) and not cfg.force:
        raise UserError.of("out", f"{out} holds another export; force=true replaces it")


def _content(path: Path, folder: Path, key: str) -> bytes | None:
    """Return what a file of a folder holds, or None if there is none.

    Raises:
        UserError: naming `key`, if it links to another place or cannot be read.
    """
    try:
        return read_bytes(path, folder)
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise UserError.of(key, str(error)) from error


def _images(
    cfg: ExportConfig, classes: list[str], input_size: int | None
) -> tuple[tuple[int, int], Tensor | None]:
    """Return height and width of the views, and some of the data's test images if at hand.

    Raises:
        UserError: if the data are not, and nothing else says how large views are.
    """
    data = cfg.data.model_copy(update={"download": False})
    missing = "they have other classes"
    try:
        splits = load_splits(data)
        if list(splits.classes) == classes:
            at = np.unique(np.linspace(0, len(splits.test) - 1, COMPARED).astype(np.int64))
            test, views = splits.test, make_views(data, splits)
            pixels = (
                test.pixels[torch.from_numpy(at)] if isinstance(test, Images) else test.read(at)
            )
            return views.shape, views.evaluation(pixels)
    except (UserError, OSError) as error:
        missing = error.problems[0].text if isinstance(error, UserError) else str(error)
    size = data.size or input_size
    if size is None:
        raise UserError.of(
            "data.size",
            f"got null, and the run's images are not at hand ({missing}); takes the side of their "
            "views in pixels",
        )
    return (size, size), None


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, "network.run")
    except FileNotFoundError as error:
        text = f"{path.parent} has not finished: no {path.name}"
        raise UserError.of("network.run", text) from error
