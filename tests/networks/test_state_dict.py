"""State dicts in the forms in which people save them, and in damaged or hostile ones."""

import argparse
import json
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from building import build
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mixkd.errors import UserError
from mixkd.networks.build import timm_core
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.state_dict import candidates
from mixkd.networks.weights import load_weights

NAMES = [f"class{k}" for k in range(10)]

State = dict[str, Tensor]


class Small(nn.Module):
    """A network of a few kinds of tensors."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 10)


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def state(network: nn.Module | None = None) -> State:
    return {n: v.clone() for n, v in (network or Small()).state_dict().items()}


def load(content: Any, capsys: pytest.CaptureFixture[str] | None = None) -> tuple[State, str]:
    """Load what a file holds into a network; return its weights and the messages."""
    path, core = Path("w.pt"), Small()
    torch.save(content, path)
    load_weights(core, path, "k", NAMES)
    return core.state_dict(), capsys.readouterr().err if capsys else ""


def are_equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def optimizer(network: nn.Module) -> dict[str, Any]:
    adam = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 3, 3, 3)) if isinstance(network, nn.Sequential) else None
    sum(p.sum() for p in network.parameters()).backward()  # type: ignore[union-attr]
    adam.step()
    return adam.state_dict()


def in_parts(trunk: str, head: str, state: State) -> State:
    return {(head if n.startswith("fc.") else trunk) + n: value for n, value in state.items()}


def nested(levels: int, value: Any) -> Any:
    return {"a": nested(levels - 1, value)} if levels else value


FORMS: dict[str, Callable[[State], Any]] = {
    "a score beside": lambda s: {"model": s, "best_acc": torch.tensor(0.9), "epoch": 3},
    "NumPy's numbers": lambda s: {"net": s, "acc": np.float64(0.9), "n": np.int64(3)},
    "timm's options": lambda s: {"state_dict": s, "args": argparse.Namespace(lr=0.1), "arch": "x"},
    "model_state_dict": lambda s: {
        "epoch": 1, "model_state_dict": s, "optimizer_state_dict": optimizer(Small()),
        "loss": torch.tensor(3.0),
    },
    "nested twice": lambda s: {"checkpoint": {"weights": {"student": s}}, "t": torch.rand(3)},
    "Lightning": lambda s: {
        "state_dict": prefixed("model.", s) | {"criterion.weight": torch.ones(10)},
        "optimizer_states": [optimizer(Small())], "loops": {}, "epoch": 3,
    },
    "student and teacher": lambda s: {
        "state_dict": prefixed("teacher.", state(Small(8))) | prefixed("student.", s)
    },
    "a wrapper of any name": lambda s: prefixed("my_net.", s) | {"scale": torch.ones(3)},
    "wrappers of wrappers": lambda s: {"net": prefixed("module._orig_mod.", s)},
    "an average of torch": lambda s: prefixed("module.", s) | {"n_averaged": torch.tensor(5)},
    "a number among the weights": lambda s: s | {"best_acc": torch.tensor(0.5)},
    "statistics of images": lambda s: {
        "state_dict": prefixed("model.", s | {"mean": torch.rand(3, 1, 1), "std": torch.rand(3)})
    },
    "a normalisation": lambda s: s | {"normalize.mean": torch.rand(3), "best": torch.rand(1)},
    "a loss": lambda s: {"state_dict": s | {"criterion.weight": torch.ones(10)}},
    "a profiler's counts": lambda s: s | {"conv.total_ops": torch.ones(1)},
    "OpenMMLab": lambda s: {"meta": {}, "state_dict": in_parts("backbone.", "head.", s)},
    "a trunk in a wrapper": lambda s: {"state_dict": in_parts("encoder.", "", s)},
    "a head in a wrapper": lambda s: {"state_dict": in_parts("", "head.", s)},
    "an encoder and its average": lambda s: {
        "state_dict": prefixed("module.encoder_q.", s) | prefixed("module.encoder_k.", state())
        | {"module.queue": torch.ones(8)}
    },
    "a teacher of another kind": lambda s: prefixed("s_net.", s)
    | {f"t_net.{k}.weight": torch.ones(2) for k in range(3 * len(s))},
    "wrappers of layers": lambda s: {
        n.replace("conv.", "conv.module.").replace("fc.", "fc._checkpoint_wrapped_module."): v
        for n, v in s.items()
    },
    "a list": lambda s: [3, {"models": (None, s)}],
    "seven levels": lambda s: nested(7, s),
    "arrays of NumPy": lambda s: {
        "net": s, "history": np.arange(3.0), "rng": np.random.get_state(),
    },
    "keys that are no names": lambda s: {0: torch.ones(2), (1, 2): "x", None: s, "w": s},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_by_what_fits(form: str) -> None:
    expected = state()
    assert are_equal(load(FORMS[form](expected))[0], expected)


@pytest.mark.parametrize(
    ("positions", "expected", "message"),
    [
        ({"state_dict": 0, "state_dict_ema": 1}, 1, "state_dict_ema; state_dict fits too"),
        ({"model_ema": 1, "model": 0}, 1, "model_ema; model fits too"),
        ({"teacher": 0, "student": 1}, 1, "student; teacher fits too"),
        ({"last": 0, "best": 1}, 0, "last; best fits too"),
        ({"net": 0, "netEMA": 1}, 1, "netEMA; net fits too"),
        ({"model_t": 0, "model_s": 1}, 1, "model_s; model_t fits too"),
        ({"initial_state": 0, "state": 1}, 1, "state; initial_state fits too"),
    ],
)
def test_of_several_that_fit_one_is_taken_and_named(
    positions: dict[str, int], expected: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    states = [state(), state()]
    weights, messages = load({name: states[k] for name, k in positions.items()}, capsys)
    assert are_equal(weights, states[expected])
    assert f"k: taken from w.pt: {message}\n" in messages


def test_a_network_beside_the_one_that_holds_it_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights, others = state(), prefixed("teacher.", state())
    loaded, messages = load({"state_dict": weights | others}, capsys)
    assert are_equal(loaded, weights)
    assert messages == "k: taken from w.pt: state_dict; state_dict/teacher.* fits too\n"
    loaded, messages = load(others | in_parts("student.net.", "student.head.", weights), capsys)
    assert are_equal(loaded, weights)
    assert messages == "k: taken from w.pt: student.net.*; teacher.* fits too\n"


@pytest.mark.parametrize(
    "name", ["exp_avg", "momentum_buffer", "grads", "optimizer", "weight_mask"]
)
def test_an_optimizers_tensors_are_no_weights(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = state()
    loaded, messages = load({name: {"x": state()}, "saved": {"last": {"net": weights}}}, capsys)
    assert are_equal(loaded, weights)
    assert messages == ""
    assert are_equal(load(prefixed(f"{name}.", state()) | prefixed("net.", weights))[0], weights)
    assert refusal({name: state()}) == "w.pt holds no state dict"


def test_parts_that_leave_a_choice_are_not_joined() -> None:
    weights = state()
    heads = {f"{k}.{n}": v for k in "ab" for n, v in weights.items() if n.startswith("fc.")}
    trunk = {n: v for n, v in weights.items() if not n.startswith("fc.")}
    assert "it lacks fc.bias, fc.weight" in refusal(prefixed("trunk.", trunk) | heads)
    large = prefixed("teacher.", {n: v for n, v in weights.items() if n != "conv.bias"})
    assert "it lacks " in refusal(prefixed("student.", trunk) | large)


def test_what_is_left_out_beside_the_weights_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    weights = state()
    _, messages = load(prefixed("student.", weights) | {"teacher.a": torch.ones(3)}, capsys)
    assert messages == "k: taken from w.pt: student.*; teacher.a beside it not\n"
    assert load({"model": weights, "epoch": 3}, capsys)[1] == ""
    average = AveragedModel(Small()).state_dict()
    assert "n_averaged beside it not" in load(average, capsys)[1]


def refusal(content: Any) -> str:
    path = Path("w.pt")
    if not isinstance(content, bytes):
        torch.save(content, path)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_weights(Small(), path, "k", NAMES)
    (problem,) = caught.value.problems
    assert problem.key == "k"
    assert len(problem.text) < 600
    return problem.text


def test_weights_that_do_not_fit_say_what_the_nearest_lack() -> None:
    weights = state()
    lacking = {n: v for n, v in weights.items() if n != "fc.bias"}
    text = refusal({"model": lacking, "x": torch.ones(2)})
    assert "is of another network: it lacks fc.bias and adds nothing" in text
    assert "lacks nothing and adds se.weight" in refusal(
        {"m": weights | {"se.weight": torch.ones(2)}}
    )
    assert "fc.weight is (10, 8), here (10, 4)" in refusal({"net": state(Small(8))})
    # The last layer of a large network is not taken for a small one.
    large = {f"layer{k}.w": torch.ones(2) for k in range(90)} | prefixed("part.", weights)
    assert "of another network" in refusal(large)


def quantised() -> Tensor:
    return torch.quantize_per_tensor(torch.rand(10, 4), 0.1, 0, torch.qint8)


NOT_DENSE: dict[str, tuple[Callable[[], Any], str]] = {
    "sparse": (lambda: torch.rand(10, 4).to_sparse(), "sparse_coo"),
    "compressed": (lambda: torch.rand(10, 4).to_sparse_csr(), "sparse_csr"),
    "meta": (lambda: torch.empty(10, 4, device="meta"), "meta, without values"),
    "quantised": (quantised, "qint8"),
    "float8": (lambda: torch.rand(10, 4).to(torch.float8_e4m3fn), "float8_e4m3fn"),
    "complex": (lambda: torch.rand(10, 4, dtype=torch.complex64), "complex64"),
    "whole": (lambda: torch.ones(10, 4, dtype=torch.int8), "int8"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", NOT_DENSE)
def test_tensors_that_are_no_dense_numbers_are_named(kind: str) -> None:
    make, message = NOT_DENSE[kind]
    text = refusal({"model": state() | {"fc.weight": make()}})
    takes = "dense numbers" if kind in ("sparse", "compressed", "meta", "quantised") else ""
    assert text.startswith(f"w.pt holds fc.weight as {message}; takes {takes}")


def test_claims_beyond_what_a_file_holds_are_refused() -> None:
    huge = torch.zeros(1).expand(2**40, 4)  # 16 TiB
    assert "is of another shape" in refusal(state() | {"conv.weight": huge})
    assert "another network" in refusal({"a": huge})
    text = refusal(state() | {"fc.weight": torch.full((10, 4), 1e300, dtype=torch.float64)})
    assert "not finite, in fc.weight" in text  # as float32
    torch.save({"w": torch.zeros(10**6)}, "big.pt")
    with zipfile.ZipFile("big.pt") as big, zipfile.ZipFile("w.pt", "w", 8) as small:
        for entry in big.infolist():
            small.writestr(entry.filename, big.read(entry))
    assert "its parts take 4," in refusal(Path("w.pt").read_bytes())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_converted(dtype: torch.dtype) -> None:
    weights = state()
    converted, _ = load({n: v.to(dtype) for n, v in weights.items()})  # counters of batches, too
    for name, value in weights.items():
        assert converted[name].dtype == value.dtype
        assert torch.equal(converted[name], value.to(dtype).to(value.dtype))


def test_attributes_of_a_tensor_do_not_hide_its_methods() -> None:
    weights = state()
    weight = nn.Parameter(weights["fc.weight"])
    weight.isfinite = weight.to = weight.detach = 3  # type: ignore[method-assign, assignment]
    assert are_equal(load(weights | {"fc.weight": weight})[0], weights)


def circular() -> dict[str, Any]:
    mapping: dict[str, Any] = {"epoch": 1}
    mapping["state_dict"] = mapping
    mapping["list"] = [mapping]
    return mapping


def deep(levels: int) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for _ in range(levels):
        mapping = {"state_dict": mapping}
    return mapping


def test_mappings_that_hold_themselves_end() -> None:
    assert refusal(circular()) == "w.pt holds no state dict"
    weights = state()
    assert are_equal(load(circular() | {"model": weights})[0], weights)
    assert refusal(deep(300)) == "w.pt holds no state dict"
    doubled: dict[str, Any] = {}  # 2**60 paths
    for _ in range(60):
        doubled = {"a": doubled, "b": doubled}
    assert refusal(doubled) == "w.pt holds no state dict"


def test_many_and_long_names_are_searched_once() -> None:
    one, weights = torch.ones(1), state()
    many = {f"x{k}.fc.weight": one for k in range(10**5)}
    assert len(list(candidates(many, weights))) == 1
    long = {"a." * 10**6 + "fc.weight": one}
    assert next(candidates(long, weights)).shared == 1


def test_a_callable_in_a_pickle_is_named_not_called() -> None:
    text = refusal({"model": state(), "made": Path("x")})
    assert "holds pathlib." in text
    assert "which mixkd does not call; save the state dict alone" in text
    torch.save(Small(), "w.pt", _use_new_zipfile_serialization=False)
    assert "holds test_state_dict.Small, which mixkd does not call" in refusal(
        Path("w.pt").read_bytes()
    )


class Huge:
    """An array that claims more memory than there is."""

    def __reduce__(self) -> Any:
        return np.ndarray, ((2**62,),)


def test_no_array_is_made() -> None:
    weights = state()
    assert are_equal(load({"net": weights, "history": Huge()})[0], weights)
    assert "holds numpy.dtypes.ObjectDType" in refusal({"net": weights, "x": np.array([None])})


@pytest.mark.filterwarnings("ignore")
def test_torchs_advice_to_run_what_a_file_holds_is_not_passed_on() -> None:
    reason = "it is damaged, or not what torch.save writes by default"
    torch.save(state(), "protocol.pt", pickle_protocol=4)
    np.savez("arrays.npz", **{n: v.numpy() for n, v in state().items()})
    for name in ("protocol.pt", "arrays.npz"):
        assert reason in refusal(Path(name).read_bytes())
    assert reason in refusal(b"version https://git-lfs.github.com/spec/v1")


def header(content: Any, size: int | None = None, data: bytes = b"") -> bytes:
    text = json.dumps(content).encode() if not isinstance(content, bytes) else content
    return struct.pack("<Q", len(text) if size is None else size) + text + data


@pytest.mark.parametrize(
    "content",
    [
        header({}, 2**60),
        header({"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, None, bytes(4)),
        header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, None, bytes(4)),
        header({"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}, None, bytes(4)),
        header({"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, None, bytes(8)),
        header({"__metadata__": {"classes": "[" * 10**5}}),
        header({"__metadata__": {"classes": "3"}}),
        header({"__metadata__": {"classes": "{}"}}),
        header(b"[" * 10**5),
        header({}),
        b"",
    ],
)
def test_strange_safetensors_are_one_message(content: bytes) -> None:
    Path("w.safetensors").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_weights(Small(), Path("w.safetensors"), "k", NAMES)
    assert len(caught.value.problems) == 1


tensors = st.sampled_from([
    lambda: torch.ones(3), lambda: torch.ones(10, 4), lambda: torch.tensor(1.0),
    lambda: torch.rand(10, 4).to_sparse(), lambda: torch.empty(10, 4, device="meta"),
    lambda: torch.ones(10, dtype=torch.complex64), lambda: torch.empty(0, 2**40),
]).map(lambda make: make())  # fmt: skip
keys = st.sampled_from(["fc.weight", "fc.bias", "conv.weight", "model.fc.weight", "state_dict",
                         "model", ".", "", "norm", "a\x1b[31mb", "é"])  # fmt: skip
contents = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | tensors,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys | st.integers(0, 3), inner, max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(contents)
def test_no_structure_brings_a_traceback(value: Any) -> None:
    text = refusal(value)
    assert text.isprintable()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_damage_brings_a_traceback(data: st.DataObject) -> None:
    path = Path("whole.pt")
    torch.save(state(), path, _use_new_zipfile_serialization=data.draw(st.booleans()))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(1, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    Path("w.pt").write_bytes(content)
    try:
        load_weights(Small(), Path("w.pt"), "k", NAMES)
    except UserError as error:
        assert len(error.problems) == 1  # noqa: PT017


# timm's own files: heads of several layers, other image sizes, the names of others.
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("deit_tiny_distilled_patch16_224", {"depth": 2}),
        ("deit_tiny_distilled_patch16_224", {"depth": 2, "img_size": 64}),
        ("test_vit", {"img_size": 128}),
        ("test_vit3", {"img_size": 96}),
        ("test_efficientnet", {}),
        ("efficientvim_m1_dist", {}),
    ],
)
def test_timms_files_are_read_as_timm_reads_them(name: str, args: dict[str, Any]) -> None:
    timm_args = {key: value for key, value in args.items() if key != "img_size"}
    source = timm.create_model(name, **timm_args).state_dict()
    torch.save({"model": source}, "w.pth")
    torch.manual_seed(1)
    state_dict = timm_core(name, 10, "w.pth", **args).state_dict()
    torch.manual_seed(1)
    overlay = {"state_dict": dict(source)}
    expected = timm.create_model(
        name, pretrained=True, num_classes=10, pretrained_cfg_overlay=overlay, **args
    ).state_dict()
    assert are_equal(state_dict, expected)
    assert any(torch.equal(value, source[n]) for n, value in state_dict.items() if "head" not in n)


def of_facebook(state: State) -> State:
    """Return a ConvNeXt's weights by the names that its authors gave."""
    names = {
        r"stem\.": "downsample_layers.0.", r"stages\.(\d)\.downsample": r"downsample_layers.\1",
        r"(stages\.\d)\.blocks": r"\1", "conv_dw": "dwconv", r"mlp\.fc": "pwconv",
        r"head\.norm": "norm", r"head\.fc": "head",
    }  # fmt: skip
    renamed = {}
    for name, value in state.items():
        for pattern, other in names.items():
            name = re.sub(pattern, other, name)
        renamed[name] = value.flatten(1) if "pwconv" in name and value.dim() > 1 else value
    return renamed


CONVNEXT = {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}
SWIN = {"depths": (1, 1), "embed_dim": 8, "num_heads": (1, 1), "window_size": 7}


def of_microsoft(state: State) -> State:
    """Return a Swin's weights as its authors have them, with buffers that timm computes."""
    index = {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49)}
    return index | {
        n.replace("layers.1.downsample", "layers.0.downsample").replace("head.fc", "head"): v
        for n, v in state.items()
    }


@pytest.mark.parametrize(
    ("name", "args", "rename"),
    [
        ("convnext_atto", CONVNEXT, of_facebook),
        ("swin_tiny_patch4_window7_224", SWIN, of_microsoft),
    ],
)
def test_weights_by_their_authors_names_are_loaded_with_their_head(
    name: str, args: dict[str, Any], rename: Callable[[State], State],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    source, core = (timm.create_model(name, num_classes=10, **args) for _ in range(2))
    renamed = rename(source.state_dict())
    other = {n: torch.zeros_like(v) for n, v in renamed.items()}
    torch.save({"model": other, "model_ema": renamed}, "w.pth")
    load_weights(core, Path("w.pth"), "k", NAMES, model=(name, args))
    assert are_equal(core.state_dict(), source.state_dict())
    text = f"k: w.pth (model_ema) is of other names or sizes; timm fits it to {name}\n"
    assert capsys.readouterr().err.endswith(text)


def test_weights_of_another_size_are_loaded_with_their_head() -> None:
    source = timm.create_model("test_vit", num_classes=10).state_dict()
    torch.save({"state_dict": prefixed("module.", source)}, "w.pth")
    args = ("network=timm", "network.name=test_vit", "+network.args.img_size=96")
    core = build(*args, "network.weights=w.pth").core
    expected = timm.create_model(
        "test_vit", num_classes=10, pretrained=True, img_size=96,
        pretrained_cfg_overlay={"state_dict": dict(source), "num_classes": 10},
    ).state_dict()  # fmt: skip
    assert are_equal(core.state_dict(), expected)
    assert torch.equal(core.state_dict()["head.weight"], source["head.weight"])
    torch.save(timm.create_model("test_vit2", num_classes=10).state_dict(), "w.pth")
    with pytest.raises(UserError, match="another network"):
        build(*args, "network.weights=w.pth")


def test_all_heads_of_other_classes_are_one_message() -> None:
    name, args = "deit_tiny_distilled_patch16_224", {"depth": 1}
    torch.save({"model": timm.create_model(name, **args).state_dict()}, "w.pth")
    core = timm.create_model(name, num_classes=10, **args)
    with pytest.raises(UserError, match="was trained on 1000 classes; the data has 10"):
        load_weights(core, Path("w.pth"), "k", NAMES, model=(name, args))


def test_timms_files_of_another_model_are_refused() -> None:
    """Of DLA timm is not strict: a file that lacks a level, or all of them, would do."""
    complete = timm.create_model("dla46_c").state_dict()
    torch.save({n: v for n, v in complete.items() if "level5" not in n}, "w.pth")
    with pytest.raises(UserError, match=r"another network: it lacks level5.*and adds nothing"):
        timm_core("dla46_c", 10, "w.pth")
    torch.save(timm.create_model("test_resnet").state_dict(), "w.pth")
    with pytest.raises(UserError, match="another network"):
        timm_core("dla46_c", 10, "w.pth")
    with pytest.raises(UserError, match="another network"):
        timm_core("test_vit", 10, "w.pth", img_size=64)
    huge = timm.create_model("test_vit").state_dict()
    huge["pos_embed"] = torch.zeros(1).expand(1, 2**40 + 1, 64)
    torch.save(huge, "w.pth")
    with pytest.raises(UserError, match="pos_embed is"):
        timm_core("test_vit", 10, "w.pth")


def test_a_cifar_resnets_public_form_has_no_counters() -> None:
    source, target = CifarResNet(8, 10), CifarResNet(8, 10)
    old = {n: v for n, v in source.state_dict().items() if not n.endswith("num_batches_tracked")}
    torch.save({"state_dict": prefixed("module.", old), "best_prec1": 94.0}, "w.th")
    load_weights(target, Path("w.th"), "k", NAMES)
    assert all(torch.equal(target.state_dict()[n], value) for n, value in old.items())
