"""A network as files that other tools run, each beside a way to ask what was written."""

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixkd.errors import UserError, first_line
from mixkd.export.load import load_network
from mixkd.networks.network import Network, logits_of

Ask = Callable[[Tensor], Tensor]

INPUT, OUTPUT = "image", "logits"
OPSET = 18
EXTRA = "mixkd.json"  # the metadata within a torch program


class Program(nn.Module):
    """A network with its resizing and normalisation, in operations that every runtime has.

    Bilinear resizing with antialiasing, which few runtimes have, is linear in the rows and in the
    columns: two matrices, found by resizing the identity, do just that for images of this height
    and width.
    """

    mean: Tensor
    std: Tensor
    rows: Tensor | None
    columns: Tensor | None

    def __init__(self, network: Network, shape: tuple[int, int]) -> None:
        super().__init__()
        self.core = network.core
        self.register_buffer("mean", network.mean)
        self.register_buffer("std", network.std)
        size = network.input_size
        resizes = size is not None and shape != (size, size)
        for name, side in zip(("rows", "columns"), shape, strict=True):
            matrix = resizing(side, size) if resizes and size is not None else None
            self.register_buffer(name, matrix)

    def forward(self, image: Tensor) -> Tensor:
        """Map images, float32 [b, 3, h, w] in [0, 1], to logits [b, classes]."""
        if self.rows is not None and self.columns is not None:
            image = self.rows @ image @ self.columns.T
        logits: Tensor = logits_of(self.core((image - self.mean) / self.std))
        return logits


def resizing(side: int, size: int) -> Tensor:
    """Return the matrix that resizes a side as `Network` does: float32 [size, side]."""
    identity = torch.eye(side)[None, None]
    resized = F.interpolate(identity, (size, side), mode="bilinear", antialias=True)
    return resized[0, 0]


def save_safetensors(
    weights: Path, config: Mapping[str, Any], folder: Path, trust: Sequence[str]
) -> Ask:
    """Write model.safetensors, the run's own file; return timm's way to ask it, or mixkd's.

    timm loads it where config.json, which is in the folder already, names an `architecture`.
    """
    shutil.copyfile(weights, folder / "model.safetensors")
    network, _ = load_network(str(folder), trust)
    if "architecture" in config:
        network.core = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return network.eval()


def save_onnx(
    program: Program, shape: tuple[int, int], folder: Path, about: Mapping[str, Any]
) -> Ask:
    """Write model.onnx, described in its metadata; return onnxruntime's way to ask it."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        text = f"onnx takes {error.name}, which is not there: pip install 'mixkd[onnx]'"
        raise UserError.of("format", text) from error
    path = folder / "model.onnx"
    with _exporting("onnx"):
        written = torch.onnx.export(
            program, (_example(shape),), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=[INPUT], output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
        )  # fmt: skip
        assert written is not None
        written.model.metadata_props.update(
            {key: v if isinstance(v, str) else json.dumps(v) for key, v in about.items()}
        )
        written.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(None, {INPUT: image.numpy()})[0])


def save_torch(
    program: Program, shape: tuple[int, int], folder: Path, about: Mapping[str, Any]
) -> Ask:
    """Write model.pt2, described in `mixkd.json` within it; return torch's way to ask it."""
    path = folder / "model.pt2"
    with _exporting("torch"):
        traced = torch.export.export(
            program, (_example(shape),), dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}}
        )
        torch.export.save(traced, path, extra_files={EXTRA: json.dumps(about)})
    loaded: Ask = torch.export.load(path).module()
    return loaded


def difference(network: Ask, other: Ask, images: Sequence[Tensor]) -> tuple[float, float]:
    """Return the largest difference of two networks' logits, and the largest logit, in size.

    The images are batches, float32 [b, 3, h, w] in [0, 1].
    """
    with torch.inference_mode():
        answers = [(network(batch), other(batch)) for batch in images]
    apart = max(float((one - two).abs().max()) for one, two in answers)
    return apart, max(float(one.abs().max()) for one, _ in answers)


def _example(shape: tuple[int, int]) -> Tensor:
    """Return two images: of one, the number would be taken for a constant."""
    return torch.full((2, 3, *shape), 0.5)


@contextmanager
def _exporting(name: str) -> Iterator[None]:
    """Leave out what the exporters say of themselves; refuse a network that they fail on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # whatever an exporter makes of a network
        text = f"got {name}, which cannot hold this network ({first_line(error)})"
        raise UserError.of("format", f"{text}; take format=safetensors") from error
    finally:
        logging.disable(before)
