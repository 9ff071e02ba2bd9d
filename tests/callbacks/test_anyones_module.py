"""The monitors in a script of one's own: a LightningModule and loaders that are not mixkd's."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import Logger
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from mixkd import (
    CalibrationMonitor,
    CorruptionMonitor,
    ImageDataModule,
    LinearityMonitor,
    measure_calibration,
    measure_linearity,
)
from mixkd.data.corruptions import corrupt
from tests.processes import forked
from tests.watched import Plain, blobs, in_a_process, loaders, monitors, trained


def logged(trainer: Any) -> dict[str, float]:
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def corrupted(images: Tensor, name: str, severity: int) -> Tensor:
    """Corrupt images [n, 3, h, w] in [0, 1], each with the noise of its position."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    positions = torch.arange(len(images)).numpy()
    made = corrupt(name, severity, pixels, positions, seed=0, parameters="cifar")
    return torch.from_numpy(made).permute(0, 3, 1, 2).float() / 255


def check_counts(values: dict[str, float], network: nn.Module) -> None:
    """Hold what was logged of calibration against measuring the images by themselves."""
    images, label = blobs(31, 1)
    sets = {"val": images}
    for name in ("gaussian_noise", "fog"):
        for severity in (1, 5):
            sets[f"corruption/val/{name}/{severity}"] = corrupted(images, name, severity)
    expected = {key: measure_calibration(network, x, label) for key, x in sets.items()}
    for key, measured in expected.items():
        for metric in ("accuracy", "ece", "nll"):
            assert values[f"{key}/{metric}"] == pytest.approx(measured[metric], abs=1e-5), key
    corrupt_ones = [measured["nll"] for key, measured in expected.items() if key != "val"]
    assert values["corruption/val/mean/nll"] == pytest.approx(sum(corrupt_ones) / 4, abs=1e-5)


@pytest.mark.parametrize("answer", ["nothing", "loss", "logits", "named"])
def test_what_is_logged_is_what_the_library_measures(answer: str) -> None:
    module = Plain(answer)
    values = logged(trained(module, monitors()))
    check_counts(values, module.network)
    linearity = measure_linearity(module.network, blobs(31, 1)[0], lambdas=3, n_pairs=10)
    for name, value in linearity.metrics.items():
        assert values[f"vicinal/val/{name}"] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_logits_that_validation_returns_are_not_asked_for_again() -> None:
    asked = {}
    for answer in ("loss", "named"):
        module = Plain(answer)
        trained(module, [CalibrationMonitor()], num_sanity_val_steps=0)
        asked[answer] = module.asked
    assert asked == {"named": 2 * (4 + 4), "loss": 2 * (4 + 4 + 4)}


@pytest.mark.parametrize("where", ["argument", "attribute"])
def test_a_teacher_is_compared_with_and_left_as_it_was(where: str) -> None:
    module, teacher = Plain(), nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3))
    if where == "attribute":
        module.teacher = teacher
    monitor = LinearityMonitor(
        n_pairs=10, lambdas=3, teacher=None if where == "attribute" else teacher
    )
    values = logged(trained(module, [monitor]))
    expected = measure_linearity(
        module.network, blobs(31, 1)[0], teacher=teacher, lambdas=3, n_pairs=10
    ).metrics
    gain = values["vicinal/val/delta_lin_global"]
    assert gain == pytest.approx(expected["delta_lin_global"], rel=1e-4)
    assert values["vicinal/val/kl_real"] == pytest.approx(expected["kl_real"], rel=1e-4)
    assert teacher.training


class Drawing(Plain):
    """It draws random numbers whenever it answers, also in eval mode."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images + 0.01 * torch.rand_like(images))


@pytest.mark.parametrize("kind", [Plain, Drawing])
def test_training_is_the_same_with_them_and_without(kind: type[Plain]) -> None:
    states = []
    for callbacks in (monitors(), []):
        torch.manual_seed(0)
        module = kind()
        trained(module, callbacks)
        states.append(module.state_dict())
        assert module.training
    assert all(torch.equal(x, y) for x, y in zip(*(s.values() for s in states), strict=True))


def test_two_processes_count_each_image_once(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = (port, str(tmp_path))
    with forked(in_a_process, 0, *given) as first, forked(in_a_process, 1, *given) as second:
        errors = first.stderr.read() + second.stderr.read()
        assert (first.wait(), second.wait()) == (0, 0), errors
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one["logged"] == two["logged"]
    assert "sync_dist" not in errors
    module = Plain()
    module.network.load_state_dict(one["network"])
    check_counts(one["logged"], module.network)  # of 31, which two do not share equally

    images = blobs(31, 1)[0]
    answers = [
        measure_linearity(module.network, images[rank::2], lambdas=3, n_pairs=5).rows["network"]
        for rank in (0, 1)
    ]
    nl = sum(rows[1]["nl"] for rows in answers) / 2
    assert one["logged"]["vicinal/val/network/nl_peak"] == pytest.approx(nl, rel=1e-4)


def test_mixkds_data_and_a_module_of_anyones() -> None:
    images, label = blobs(90, 0)
    pixels = (images * 255).round().to(torch.uint8)
    splits = [(pixels[:n], label[:n]) for n in (90, 9, 31)]
    data = ImageDataModule.of(*splits, batch_size=30)
    module = Plain()
    trainer = trained(module, monitors(), data=data)
    values = logged(trainer)
    expected = measure_calibration(module.network, images[:31], label[:31])
    assert values["val/nll"] == pytest.approx(expected["nll"], abs=1e-5)
    linearity = measure_linearity(module.network, images[:31], lambdas=3, n_pairs=10)
    peak = values["vicinal/val/network/nl_peak"]
    assert peak == pytest.approx(linearity.metrics["network/nl_peak"], rel=1e-4)
    assert "corruption/val/fog/5/ece" in values


class Endless(IterableDataset[Any]):
    """Images of which nobody knows how many come."""

    def __iter__(self) -> Any:
        return iter(zip(*blobs(31, 1), strict=True))


def test_of_several_loaders_the_first_and_of_any_kind() -> None:
    module = Plain()
    val = [DataLoader(Endless(), 8), DataLoader(TensorDataset(*blobs(20, 5)), 8)]
    values = logged(trained(module, monitors(), val))
    check_counts(values, module.network)
    linearity = measure_linearity(module.network, blobs(31, 1)[0], lambdas=3, n_pairs=10)
    peak = values["vicinal/val/network/nl_peak"]
    assert peak == pytest.approx(linearity.metrics["network/nl_peak"], rel=1e-4)


def test_pairs_are_of_the_images_that_are_looked_at() -> None:
    module = Plain()
    values = logged(trained(module, monitors(), limit_val_batches=2))
    linearity = measure_linearity(module.network, blobs(31, 1)[0][:16], lambdas=3, n_pairs=10)
    peak = values["vicinal/val/network/nl_peak"]
    assert peak == pytest.approx(linearity.metrics["network/nl_peak"], rel=1e-4)


def test_normalised_images_are_corrupted_as_they_were_before() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    shift, scale = (torch.tensor(x).view(3, 1, 1) for x in (mean, std))
    images, label = blobs(31, 1)
    val = DataLoader(TensorDataset((images - shift) / scale, label), 8)
    module, monitor = Plain(), CorruptionMonitor(names=["fog"], mean=mean, std=std)
    values = logged(trained(module, [monitor], val))
    fog = (corrupted(images, "fog", 3) - shift) / scale
    expected = measure_calibration(module.network, fog, label)
    assert values["corruption/val/fog/3/nll"] == pytest.approx(expected["nll"], abs=1e-5)
    as_bytes = DataLoader(TensorDataset((images * 255).round().to(torch.uint8), label), 8)

    class OfBytes(Plain):
        def forward(self, images: Tensor) -> Any:
            return super().forward(images.float() / 255 if images.dtype == torch.uint8 else images)

    module = OfBytes()
    values = logged(trained(module, [CorruptionMonitor(names=["fog"])], as_bytes))
    expected = measure_calibration(module.network, corrupted(images, "fog", 3), label)
    assert values["corruption/val/fog/3/nll"] == pytest.approx(expected["nll"], abs=1e-5)
    with pytest.raises(ValueError, match=r"CorruptionMonitor: got images torch.float32 .* from -"):
        trained(Plain(), [CorruptionMonitor(names=["fog"])], val)


class Pictures(Logger):
    """A logger that takes pictures in its own way."""

    name, version = "pictures", 0

    def __init__(self) -> None:
        self.taken: list[tuple[Any, ...]] = []

    def log_metrics(self, metrics: Any, step: Any = None) -> None: ...
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...


class LikeWandb(Pictures):
    def log_image(self, key: str, images: list[Image.Image], step: int) -> None:
        self.taken.append((key, images[0].size, step))


class LikeMLflow(Pictures):
    """As its client: the run's id goes before an image, and a file's name follows it."""

    run_id = "r-7"

    @property
    def experiment(self) -> Any:
        outer = self

        class Client:
            def log_image(self, run_id: str, image: Image.Image, artifact_file: str) -> None:
                outer.taken.append((run_id, artifact_file, image.size))

        return Client()


class LikeComet(Pictures):
    @property
    def experiment(self) -> Any:
        outer = self

        class Experiment:
            def log_image(self, image_data: Image.Image, name: str, step: int) -> None:
                outer.taken.append((name, image_data.size, step))

        return Experiment()


def test_pictures_go_to_whichever_logger_takes_them() -> None:
    own: list[Any] = [LikeWandb(), LikeMLflow(), LikeComet(), Pictures()]
    callbacks = monitors(every_n_epochs=2, folder="figures")
    trained(Plain(), callbacks, logger=own, max_epochs=3)
    names = ["val/reliability", "val/vicinal", "val/corruption"]
    wandb, mlflow, comet, none = (logger.taken for logger in own)
    assert sorted({(entry[0], entry[2]) for entry in wandb}) == sorted(
        (name, step) for name in names for step in (8, 12)
    )
    assert {(entry[0], entry[1]) for entry in mlflow} == {
        ("r-7", f"{name}/{step:08d}.png") for name in names for step in (8, 12)
    }
    assert {entry[0] for entry in comet} == {*names}
    assert not none
    kinds = ("reliability", "vicinal", "corruption")
    expected = {f"{kind}-training.{suffix}" for kind in kinds for suffix in ("png", "svg")}
    assert {path.name for path in Path("figures").iterdir()} == expected


def test_the_cadence_and_validation_alone() -> None:
    module = Plain()
    trainer = trained(module, monitors(every_n_epochs=5), max_epochs=1)
    assert "val/ece" in trainer.callback_metrics  # the last
    trainer = trained(module, monitors(every_n_epochs=5), max_epochs=-1, max_steps=4)
    assert "val/ece" not in trainer.callback_metrics
    trainer.validate(module, loaders()[1], verbose=False)
    values = logged(trainer)
    check_counts(values, module.network)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (CalibrationMonitor, {"every_n_epochs": 0}, "every_n_epochs: got 0"),
        (LinearityMonitor, {"every_n_epochs": 1.5}, "every_n_epochs: got 1.5"),
        (LinearityMonitor, {"n_pairs": 0}, "n_pairs: got 0"),
        (LinearityMonitor, {"lambdas": 2}, "lambdas: got 2; takes a whole number, 3 or more"),
        (LinearityMonitor, {"seed": -1}, "seed: got -1"),
        (CorruptionMonitor, {"every_n_epochs": True}, "every_n_epochs: got true"),
        (CorruptionMonitor, {"names": ["foggy"]}, r"\(did you mean fog\?\)"),
        (CorruptionMonitor, {"names": "fog"}, "names: got 'fog'; takes a list"),
        (CorruptionMonitor, {"names": []}, "names: got"),
        (CorruptionMonitor, {"names": ["fog", "fog"]}, "each once"),
        (CorruptionMonitor, {"severities": [0]}, "severities: got 0; takes 1 to 5"),
        (CorruptionMonitor, {"mean": (0, 0, 0)}, "mean, std: got one"),
        (CorruptionMonitor, {"mean": (0, 0), "std": (1, 1)}, "three numbers"),
        (CorruptionMonitor, {"mean": (0, 0, 0), "std": (1, 0, 1)}, "std: got 0"),
    ],
)
def test_bad_values_are_refused(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"image": blobs(8, 0)[0]}, "batch of type dict"),
        ([blobs(8, 0)[0], torch.rand(8, 3)], "labels torch.float32"),
        ([blobs(8, 0)[0]], "takes \\(images, labels\\)"),
    ],
)
def test_batches_of_other_things_are_refused(batch: Any, message: str) -> None:
    class Silent(Plain):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None: ...

    for monitor in monitors():
        with pytest.raises(ValueError, match=message):
            trained(
                Silent(), [monitor], DataLoader([batch], batch_size=None), num_sanity_val_steps=0
            )
