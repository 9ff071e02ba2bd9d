"""What a user may get wrong, as data: a row a mistake, for test_bad_inputs.py.

A row holds a command line, the key that its message names, what else the message says (the value
that it got, what it takes, what to do), and what makes the files that the row needs. Commands run
in a folder with `images/` (train/ and test/ of blue, green, red, 16 px), `teacher` (a finished
finetune run on them), `student` (distilled from it, its answers on a tape in `tapes/`),
`evaluation` (of the student) and `w.pt` (weights of the teacher's network).
"""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from mixkd.networks.cifar.resnet import CifarResNet


class Bad(NamedTuple):
    """A mistake: the command, the key of its message, parts of its text, what makes the files."""

    command: str
    key: str
    says: tuple[str, ...]
    make: Callable[[], object] | None = None
    status: int = 2


def bad(
    command: str,
    key: str,
    *says: str,
    make: Callable[[], object] | None = None,
    status: int = 2,
) -> Bad:
    return Bad(command, key, says, make, status)


# What commands begin with.
SMALL = "network=resnet20 network.args.depth=8"
IMAGES = "data=imagefolder data.root=images"
QUICK = "data.batch_size=12 data.pad=1 trainer.max_epochs=1"
TRAIN = f"finetune {IMAGES} {SMALL} {QUICK}"
LEARN = f"distill {IMAGES} {QUICK} teacher.run=teacher student=resnet20 student.args.depth=8"
TAPED = f"{LEARN} teacher.tape=tapes"
LOADED = f"evaluate {IMAGES} {SMALL} network.weights=w.pt"
SEEN = "evaluate network.run=student"
F = "finetune network=resnet20"
D = "distill teacher=resnet20 teacher.weights=w.pt"
E = "evaluate data=digits network=resnet20 network.weights=w.pt"


# What makes the files of a row, in the folder where its command runs.
def cut(path: str, kept: float = 0.5) -> Callable[[], object]:
    """Keep a part of a file from its beginning."""

    def make() -> None:
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: int(len(whole) * kept)])

    return make


def put(path: str, text: str = "no such thing") -> Callable[[], object]:
    def make() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)

    return make


def gone(*paths: str) -> Callable[[], object]:
    def make() -> None:
        for path in map(Path, paths):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return make


def emptied(path: str) -> Callable[[], object]:
    def make() -> None:
        shutil.rmtree(path)
        Path(path).mkdir()

    return make


def moved(*pairs: tuple[str, str]) -> Callable[[], object]:
    def make() -> None:
        for one, other in pairs:
            Path(one).rename(other)

    return make


def linked(path: str, target: str) -> Callable[[], object]:
    return lambda: Path(path).symlink_to(target)


def both(*makers: Callable[[], object]) -> Callable[[], object]:
    def make() -> None:
        for each in makers:
            each()

    return make


def picture(path: str, pixels: np.ndarray) -> Callable[[], object]:
    return lambda: Image.fromarray(pixels).save(path)


def other_pixels() -> None:
    """Change what an image shows, but not its size: the first number by which it is quantised."""
    path = Path("images/train/red/0001.jpg")
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xdb") + 5] += 9
    path.write_bytes(data)


def one_a_class() -> None:
    for path in Path("images/train").glob("*/*.jpg"):
        if path.stem != "0000":
            path.unlink()


def bomb() -> None:
    """Write a PNG file that says that it is a million pixels wide and high."""
    path = Path("images/train/red/bomb.png")
    Image.new("L", (1, 1)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = (1_000_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


def arrays(path: str, **named: Any) -> Callable[[], object]:
    return lambda: np.savez(path, **named)


def cifar_c(pixels: Any = None, labels: Any = None) -> Callable[[], object]:
    """Write fog.npy and labels.npy of two images a severity, or others in their place."""
    images = np.zeros((10, 32, 32, 3), np.uint8) if pixels is None else pixels

    def make() -> None:
        Path("c").mkdir()
        np.save("c/fog.npy", images)
        np.save("c/labels.npy", np.arange(10) if labels is None else labels)

    return make


def damaged_cifar() -> None:
    Path("c").mkdir()
    Path("c/cifar-10-python.tar.gz").write_bytes(b"half an archive")


def weights(path: str, **changed: Any) -> Callable[[], object]:
    """Write the weights of the teacher's network; a value of a name may be another."""

    def make() -> None:
        state = CifarResNet(8, 3).state_dict()
        torch.save(state | changed, path)

    return make


def not_finite(path: str) -> Callable[[], object]:
    def make() -> None:
        state = CifarResNet(8, 3).state_dict()
        state["conv1.weight"][0] = float("nan")
        if path.endswith(".safetensors"):
            safetensors.torch.save_file(state, path)
        else:
            torch.save(state, path)

    return make


class Runs:
    """Does something when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("it-ran",)


def pickled(path: str) -> Callable[[], object]:
    return lambda: Path(path).write_bytes(pickle.dumps(Runs()))


def edited(path: str, change: Callable[[dict[str, Any]], object]) -> Callable[[], object]:
    """Change a JSON or YAML file."""
    import yaml

    def make() -> None:
        held = yaml.safe_load(Path(path).read_text())
        change(held)
        text = json.dumps(held) if path.endswith("json") else yaml.safe_dump(held)
        Path(path).write_text(text)

    return make


def interrupted(run: str) -> Callable[[], object]:
    """Make a run one that goes on where it stopped."""
    return both(gone(f"{run}/metrics.json"), put(f"{run}/status.json", '{"state": "interrupted"}'))


def checkpoint(run: str, change: Callable[[dict[str, Any]], object], name: str = "last") -> Any:
    """Change a checkpoint of a run that was interrupted."""

    def make() -> None:
        path = Path(run, "checkpoints", f"{name}.ckpt")
        held = torch.load(path, weights_only=True)
        change(held)
        torch.save(held, path)

    return both(interrupted(run), make)


def tape_epoch(name: str = "epoch-0000.npy") -> Path:
    (folder,) = (path.parent for path in Path("tapes").glob("*/tape.json"))
    return folder / name


def tape(change: Callable[[Path], object]) -> Callable[[], object]:
    """Change an epoch of the tape; the student that it was recorded for is another's."""
    return lambda: change(tape_epoch())


def half_recorded(text: bytes) -> Callable[[], object]:
    def make() -> None:
        tape_epoch().unlink()
        tape_epoch("epoch-0000.part.npy").write_bytes(text)

    return make


def predictions(**changed: Any) -> Callable[[], object]:
    """Change or leave out arrays of the student's predictions."""

    def make() -> None:
        path = Path("student/predictions/test.npz")
        with np.load(path) as saved:
            found = {name: saved[name] for name in saved.files}
        np.savez(path, **{k: v for k, v in (found | changed).items() if v is not None})

    return make


LOGITS = np.eye(4, 3)
ENDLESS = np.full((4, 3), np.inf)
LABEL = np.array([0, 1, 2, 0])

COMMANDS = {
    "no such command": bad("finetun", "command", "'finetun'", "did you mean finetune?", "takes"),
    "no such option": bad(f"{F} --forse", "options", "--forse", "takes KEY=VALUE"),
    "an option's value": bad(f"{F} --cfg jb", "options", "'jb'", "takes KEY=VALUE"),
    "nothing to list": bad("list", "list", "got nothing", "takes networks, datasets"),
    "no such list": bad("list network", "list", "got network", "did you mean networks?"),
    "nothing for a dashboard": bad("dashboard", "dashboard", "got nothing", "takes entity="),
    "a dashboard's word": bad("dashboard ot=x", "dashboard", "got ot", "did you mean out?"),
    "an export's key": bad(
        "export network.run=student fromat=onnx", "fromat", "no such key", "did you mean format?"
    ),
    "an export of nothing": bad("export", "network.run", "got null", "a finished run"),
    "an export without a network": bad("export ~network", "network", "is missing"),
    "an export without data": bad("export ~data network.run=student", "data", "is missing"),
    "nobody's export": bad(
        "evaluate network.export=~nosuchuser/x data=digits",
        "network.export",
        "'~nosuchuser/x'",
        "no export there",
    ),
    "an export into a file": bad(
        "export network.run=student out=w.pt", "out", "got w.pt", "takes a folder"
    ),
    "an evaluation's key beside its run": bad(
        "evaluate network.run=student vicinl=true", "vicinl", "did you mean vicinal?"
    ),
    "a dashboard without a place": bad(
        "dashboard project=p seed=1", "dashboard", "got seed", "takes entity=, project=, out="
    ),
}

TYPES = {
    "a negative seed": bad(f"{F} seed=-1", "seed", "got -1", "takes a whole number from 0"),
    "a seed of text": bad(f"{F} seed=zero", "seed", "got 'zero'", "takes a whole number from 0"),
    "a broken seed": bad(f"{F} seed=1.5", "seed", "got 1.5", "takes a whole number from 0"),
    "an immense seed": bad(f"{F} seed=9223372036854775808", "seed", "got 9223372036854775808"),
    "a flag as a seed": bad(f"{F} seed=true", "seed", "got true", "takes a whole number from 0"),
    "no seed": bad(f"{F} seed=null", "seed", "is missing", "leave seed=null out"),
    "a list as a seed": bad(f"{F} seed=[1]", "seed", "got [1]", "takes a whole number from 0"),
    "a rate of nothing": bad(f"{F} optimizer.lr=0", "optimizer.lr", "got 0", "a number above 0"),
    "a rate of nan": bad(f"{F} optimizer.lr=nan", "optimizer.lr", "got nan", "a number above 0"),
    "an infinite rate": bad(f"{F} optimizer.lr=inf", "optimizer.lr", "got inf", "takes a number"),
    "a rate of text": bad(f"{F} optimizer.lr=1e-3x", "optimizer.lr", "got '1e-3x'", "takes a"),
    "one beta": bad(f"{F} optimizer=adam optimizer.betas=[0.9]", "optimizer.betas", "got [0.9]",
                    "takes two numbers in [0, 1)"),
    "no epochs": bad(f"{F} trainer.max_epochs=0", "trainer.max_epochs", "got 0", "from 1 to"),
    "a quoted number": bad(f"{F} trainer.max_epochs=\"'5'\"", "trainer.max_epochs", "got '5'",
                           "takes a whole number from 1 to 100000"),
    "a word for a flag": bad(f"{F} data.flip=perhaps", "data.flip", "got 'perhaps'",
                             "takes true or false"),
    "a number for a flag": bad(f"{F} data.flip=1", "data.flip", "got 1", "takes true or false"),
    "a batch of one": bad(f"{F} data.batch_size=1", "data.batch_size", "got 1", "2 or more"),
    "all held out": bad(f"{F} data.holdout=1", "data.holdout", "got 1", "above 0 and below 1"),
    "tiny images": bad(f"{F} data.size=4", "data.size", "got 4", "pixels from 8 to 4096, or null"),
    "two means": bad(f"{F} network.mean=[0,1]", "network.mean", "got [0, 1]", "three numbers"),
    "no deviation": bad(f"{F} network.std=[1,0,1]", "network.std[1]", "got 0", "numbers above 0"),
    "a section as a word": bad(f"{F} run=here", "run", "got 'here'", "a section with dir, root"),
    "a section as a list": bad(f"{F} stage1=[1]", "stage1", "got [1]", "a section with epochs, lr"),
    "a word as a section": bad(f"{F} seed.x=1", "seed.x", "seed holds no keys", "seed=VALUE"),
    "a list as a section": bad(f"{F} sweep.objectives.x=1", "sweep.objectives.x",
                               "sweep.objectives holds no keys", "give it as a whole"),
    "a name with a way out": bad(f"{F} data.name=../evil", "data.name", "got '../evil'",
                                 "takes letters, digits"),
    "a temperature below 0": bad(f"{D} temperature=-2", "temperature", "got -2", "or sigma"),
    "no temperature": bad(f"{D} temperature=0", "temperature", "got 0", "a number above 0"),
    "sigma misspelt": bad(f"{D} temperature=sigm", "temperature", "got 'sigm'", "or sigma"),
    "sigma of nothing": bad(f"{D} temperature=0sigma", "temperature", "got '0sigma'", "or sigma"),
    "a number after sigma": bad(f"{D} temperature=sigma2", "temperature", "got 'sigma2'", "2sigma"),
    "a deviation of a number": bad(f"{D} temperature=2 deviation=sample", "deviation",
                                   "got sample", "of temperature=sigma, 2sigma"),
    "a deviation misspelt": bad(f"{D} temperature=sigma deviation=sampel", "deviation",
                                "got 'sampel'", "takes population, sample"),
    "a divergence misspelt": bad(f"{D} divergence=dkdd", "divergence", "got 'dkdd'",
                                 "did you mean dkd?"),
    "a hint misspelt": bad(f"{D} hint=rkdd", "hint", "got 'rkdd'", "did you mean rkd?"),
    "nothing compared": bad(f"{D} divergence=none", "divergence", "got none with hint=none"),
    "a hint that weighs nothing": bad(f"{D} divergence=none hint=rkd hint.weight=0", "hint.weight",
                                      "got 0 with method.alpha=0"),
    "a weight below 0": bad(f"{D} method.alpha=-1", "method.alpha", "got -1", "0 or more"),
    "lambda beyond 1": bad(f"{D} method.mix.lam=1.5", "method.mix.lam", "got 1.5",
                           "takes uniform, beta, or a number in [0, 1]"),
    "a tape of nothing": bad(f"{D} teacher.tape_gb=0", "teacher.tape_gb", "got 0",
                             "takes a number above 0"),
    "two lambdas": bad(f"{E} vicinal.lambdas=2", "vicinal.lambdas", "got 2", "from 3 to 1001"),
    "a severity of 6": bad(f"{E} corruptions.severities=[6]", "corruptions.severities[0]",
                           "got 6", "takes"),
    "no splits": bad(f"{E} splits=[]", "splits", "got []", "takes a list of train, val, test"),
    "a split twice": bad(f"{E} splits=[val,val]", "splits", "takes each once"),
    "one class of features": bad(f"{E} features.classes=[cat]", "features.classes",
                                 "got ['cat']", "two or more class names"),
    "an environment's variable": bad(f"{F} 'seed=${{oc.env:NO_SUCH}}'", "seed", "'NO_SUCH' not",
                                     "takes a value"),
    "a key that is not there": bad(f"{F} 'seed=${{sede}}'", "seed", "'sede' not found",
                                   "takes a value, or ${KEY}"),
    "a name too long": bad(f"{F} network.weights={'x' * 5000}", "network.weights", "got 'xxx",
                           "no such file"),
    "a place too long": bad(f"{F} run.root={'x' * 300}", "run.root", "File name too long",
                            "takes another"),
}  # fmt: skip

KEYS = {
    "a key misspelt": bad(f"{F} trainer.max_epoch=2", "trainer.max_epoch", "no such key",
                          "did you mean max_epochs?", "takes"),
    "a section misspelt": bad(f"{F} trianer.max_epochs=2", "trianer.max_epochs", "no such key",
                              "did you mean trainer?"),
    "a key of another command": bad(f"{F} temperature=2", "temperature", "no such key", "takes"),
    "a group of another command": bad(f"{D} network=resnet18", "network", "has no such key"),
    "a key added": bad(f"{F} +surprise=1", "surprise", "no such key; takes"),
    "a key added within": bad(f"{D} +method.mix.lamda=1", "method.mix.lamda", "did you mean lam?"),
    "a key added twice": bad(f"{F} +seed=1", "seed", "Could not append", "++seed=1"),
    "a key taken out": bad(f"{F} ~seed", "seed", "is missing", "leave ~seed out"),
    "a null taken out": bad(f"{F} ~data.size", "data.size", "Could not delete"),
    "no override": bad(f"{F} word", "word", "not KEY=VALUE"),
    "half a list": bad(f"{F} seed=[1", "seed=[1", "not KEY=VALUE"),
    "no key": bad(f"{F} =3", "=3", "not KEY=VALUE"),
    "an option misspelt": bad(f"{F} optimizer=sdg", "optimizer", "got 'sdg'", "adam, adamw, sgd"),
    "a null option": bad(f"{F} data=null", "data", "got 'None'", "takes cifar10"),
    "a network misspelt": bad("finetune network=resnet21", "network", "got 'resnet21'",
                              "did you mean resnet20?", "network=timm network.name=NAME"),
    "a data set misspelt": bad(f"{F} data=cifar11", "data", "got 'cifar11'", "mean cifar10?"),
    "a choice misspelt": bad(f"{F} trainer.select=acuracy", "trainer.select", "got 'acuracy'",
                             "did you mean accuracy?"),
    "a logger misspelt": bad(f"{F} logger=[csv,wandbb]", "logger", "'wandbb'", "mean wandb?"),
    "a preset misspelt": bad(f"{F} protocol=party", "protocol", "got 'party'", "mean parity?"),
    "several values": bad(f"{F} seed=1,2", "seed", "got 1, 2", "`-m` runs a job for each"),
    "an interval": bad(f"{F} 'optimizer.lr=interval(0,1)'", "optimizer.lr", "got interval(0,1)",
                       "takes one value"),
    "a word of a sweep": bad(f"{F} launcher.parallel=2", "launcher.parallel", "of a sweep",
                             "add -m"),
    "trials of one job": bad(f"{F} sweep.trials=3", "sweep.trials", "is of a sweep", "add -m"),
}  # fmt: skip

CONTRADICTIONS = {
    "a teacher's method": bad(f"{F} method=kd", "method", "got kd", "takes erm, mixup, "),
    "an argument that a loss lacks": bad(f"{F} method=focal method.args.gama=1",
                                         "method.args.gama", "did you mean gamma?", "takes gamma"),
    "a value that a loss refuses": bad(f"{F} method=margin method.args.weight=-1",
                                       "method.args", "got weight=-1", "takes a number, 0 or more"),
    "a text for a number of a loss": bad(f"{F} method=focal method.args.gamma=x",
                                         "method.args", "got gamma='x'", "takes a number"),
    "a method without teacher": bad(f"{D} method=erm", "method", "got erm", "kd or kd_mixup"),
    "a loss of nothing": bad(f"{D} method.alpha=0 method.beta=0", "method.beta", "got 0",
                             "nothing to learn"),
    "no network": bad("finetune", "network", "none chosen", "take network=NAME"),
    "no teacher": bad("distill", "teacher", "none chosen", "take teacher=NAME"),
    "an untrained network": bad("evaluate data=digits network=resnet20", "network",
                                "no trained weights", "take network.run=DIR"),
    "no data": bad("evaluate network=resnet20 network.weights=w.pt", "data", "no data set chosen",
                   "take data=NAME"),
    "no teacher trained": bad("distill data=digits teacher=resnet20", "teacher",
                              "no finished run of resnet20 on digits", "make it with `mixkd fine"),
    "a weights file of a run": bad(f"{SEEN} network.weights=w.pt", "network.weights",
                                   "a run brings its own weights"),
    "a name beside a run": bad(f"{SEEN} network.name=resnet18", "network.name", "got 'resnet18'",
                               "leave it out"),
    "a teacher unasked": bad(f"{SEEN} teacher.run=teacher", "teacher", "add vicinal=true"),
    "a tape of an evaluation": bad(f"{SEEN} teacher.run=teacher vicinal=true teacher.tape=t",
                                   "teacher.tape", "an evaluation has no stream"),
    "a folder of digits": bad(f"{F} data.root=images", "data.root", "got 'images' with data=digi",
                              "take data=imagefolder"),
    "digits on disk": bad(f"{F} data.resident=false", "data.resident", "got false", "takes true"),
    "no size on disk": bad(f"{TRAIN} data.resident=false", "data.size", "got null",
                           "takes a number of pixels"),
    "a crop beyond": bad(f"{F} data.size=64 data.resize=32", "data.resize", "got 32", "at least"),
    "a resize alone": bad(f"{F} data.resize=40", "data.resize", "got 40", "takes both"),
    "a floor above the rate": bad(f"{F} schedule.min_lr=1", "schedule.min_lr", "got 1", "at most"),
    "a gap in a schedule": bad(
        f"{F} schedule=piecewise 'schedule.segments=[{{start: 0, end: 3, lr0: 1, lr1: 1, shape: "
        "linear},{start: 4, end: 9, lr0: 1, lr1: 1, shape: linear}]'",
        "schedule.segments[1].start", "got 4", "takes 3"),
    "a nesterov of nothing": bad(f"{F} optimizer.momentum=0", "optimizer.momentum", "got 0",
                                 "takes a number above 0"),
    "a batch that devices cannot share": bad(
        f"{F} data.batch_size=63 trainer.devices=2", "data.batch_size", "got 63", "divisible by 2"),
    "parts that cannot share": bad(f"{F} trainer.accumulate=3", "trainer.accumulate", "got 3",
                                   "divisible by 3"),
    "corrupted training": bad(f"{F} data=cifar10_c data.corruption=fog", "data",
                              "holds test images alone", "`mixkd evaluate` takes it"),
    "no corruption": bad(f"{E} data=cifar10_c", "data.corruption", "got null", "such as fog"),
    "a corruption misspelt": bad(f"{E} corruptions.names=[fogg]", "corruptions.names",
                                 "got 'fogg'", "did you mean fog?"),
    "a reserved name": bad(f"{SEEN} baselines.student=teacher vicinal=true", "baselines",
                           "student is no name for a baseline"),
    "more devices than there are": bad(f"{TRAIN} trainer.accelerator=gpu trainer.devices=16 "
                                       "data.batch_size=32", "trainer.devices", "got 16"),
}  # fmt: skip

SWEEPS = {
    "seeds that are all bad": bad(f"{F} -m seed=-1", "seed", "got -1", "takes a whole number"),
    "one place for all": bad(f"{F} -m seed=0,1 run.dir=one", "run.dir", "cannot hold a sweep",
                             "take run.root=DIR"),
    "a launcher misspelt": bad(f"{F} -m seed=0 launcher=slrum", "launcher", "mean slurm?"),
    "values without an end": bad(f"{F} -m 'seed=range(0,1000000000)'", "seed",
                                 "more than 10,000 jobs", "takes fewer"),
    "a pattern": bad(f"{F} -m 'data=glob(cifar*)'", "data", "got glob(cifar*)", "takes values"),
    "no trials": bad(f"{F} -m seed=0,1 sweep.trials=0", "sweep.trials", "got 0", "1 or more"),
    "nothing searched": bad(f"{F} -m sweep.trials=2", "sweep.trials", "nothing is searched",
                            "take KEY=interval(a,b)"),
    "an interval that is none": bad(f"{F} -m sweep.trials=2 'optimizer.lr=interval(1,0)'",
                                    "optimizer.lr", "interval(1,0)"),
    "trials of evaluations": bad(f"{SEEN} -m sweep.trials=2", "sweep.trials", "trains nothing"),
    "an objective misspelt": bad(f"{F} -m sweep.trials=2 seed=0,1 sweep.objectives=[eec]",
                                 "sweep.objectives[0]", "got 'eec'"),
    "an interval without trials": bad(f"{F} -m 'seed=interval(0,3)'", "seed",
                                      "got interval(0,3)", "sweep.trials"),
}  # fmt: skip

DATA = {
    "no such folder": bad(f"{F} data=imagefolder data.root=nowhere", "data.root", "got 'nowhere'",
                          "no such folder", "takes"),
    "a file as a folder": bad(f"{F} data=imagefolder data.root=w.pt", "data.root", "got 'w.pt'",
                              "is no folder", "takes"),
    "an empty folder": bad(TRAIN, "data.root", "got 'images', which holds no train/", "takes a f",
                           make=emptied("images")),
    "no test images": bad(TRAIN, "data.root", "images holds train", "takes train/ with val/",
                          make=gone("images/test")),
    "an empty class": bad(TRAIN, "data.root", "test/red: no images",
                          make=emptied("images/test/red")),
    "no class folders": bad(TRAIN, "data.root", "images/train holds 0 class folders",
                            make=both(emptied("images/train"), emptied("images/test"))),
    "one class": bad(TRAIN, "data.root", "holds 1 class folders; takes 2 or more",
                     make=gone("images/train/red", "images/test/red", "images/train/blue",
                               "images/test/blue")),
    "a class of training alone": bad(TRAIN, "data.root", "images/test: no folder for class 'red'",
                                     make=gone("images/test/red")),
    "a class of the test alone": bad(TRAIN, "data.root", "test/red: train/ has no such class",
                                     make=gone("images/train/red")),
    "images without classes": bad(
        TRAIN, "data.root", "images/test holds images; takes a folder for each class",
        make=both(emptied("images/test"),
                  lambda: shutil.copy("images/train/red/0000.jpg", "images/test"))),
    "half a JPEG": bad(TRAIN, "data.root", "train/red/0001.jpg cannot be decoded",
                       make=cut("images/train/red/0001.jpg")),
    "an empty image": bad(TRAIN, "data.root", "train/red/0001.jpg cannot be decoded",
                          make=cut("images/train/red/0001.jpg", 0)),
    "half a PNG": bad(TRAIN, "data.root", "x.png cannot be decoded",
                      make=both(picture("images/train/red/x.png", np.zeros((16, 16), np.uint8)),
                                cut("images/train/red/x.png"))),
    "text as an image": bad(TRAIN, "data.root", "x.jpg cannot be decoded",
                            make=put("images/test/red/x.jpg")),
    "a bomb": bad(TRAIN, "data.root", "bomb.png cannot be decoded", make=bomb),
    "a link to itself": bad(TRAIN, "data.root", "train/red/x.jpg is no file",
                            make=linked("images/train/red/x.jpg", "x.jpg")),
    "a link to nothing": bad(TRAIN, "data.root", "train/red/x.jpg is no file",
                             make=linked("images/train/red/x.jpg", "nowhere.jpg")),
    "a pipe": bad(TRAIN, "data.root", "train/red/x.jpg is no file",
                  make=lambda: os.mkfifo("images/train/red/x.jpg")),
    "a root that is a link to itself": bad(
        f"{F} data=imagefolder data.root=round", "data.root", "got 'round'", "no such folder",
        make=linked("round", "round")),
    "several sizes": bad(TRAIN, "data.size", "2 sizes, from 16x16 to 24x24", "takes the number",
                         make=picture("images/train/red/x.png", np.zeros((24, 24), np.uint8))),
    "floats beyond bytes": bad(TRAIN, "data.root", "x.tif cannot be decoded", "8 or 16 bits",
                               make=picture("images/train/red/x.tif",
                                            np.full((16, 16), 0.5, np.float32))),
    "one image a class": bad(TRAIN, "data.holdout", "3 images cannot be split",
                             "data.selection=test", make=one_a_class),
    "fewer images than classes": bad(f"{TRAIN} data.limit_train=2", "data.limit_train",
                                     "asks for 2 of", "takes 3 to"),
    "a batch larger than all": bad(f"{TRAIN} data.batch_size=500", "data.batch_size", "got 500",
                                   "takes at most the"),
    "sigma of two classes": bad(f"{LEARN} teacher.run=null teacher=resnet20 teacher.args.depth=8 "
                                "teacher.weights=w.pt temperature=sigma", "temperature",
                                "got sigma with 2 classes", "takes a number",
                                make=gone("images/train/red", "images/test/red")),
    "CIFAR that is not there": bad(f"{F} data=cifar10 data.root=c data.download=false",
                                   "data.root", "no intact cifar10 in 'c'", "data.download=true"),
    "damaged CIFAR": bad(f"{F} data=cifar10 data.root=c data.download=false", "data.root",
                         "no intact cifar10 in 'c'", make=damaged_cifar),
    "ImageNet without val": bad(f"{F} data=imagenet data.root=images", "data.root",
                                "images lacks val/", "takes the folder that holds train/ and val/"),
    "a damaged archive": bad(f"{F} data=imagenet data.root=c", "data.root",
                             "ILSVRC2012_img_train.tar cannot be unpacked",
                             make=put("c/ILSVRC2012_img_train.tar")),
}  # fmt: skip

FOG = ("evaluate data=cifar10_c data.root=c data.download=false data.corruption=fog "
       f"{SMALL} network.weights=w.pt")  # fmt: skip
ARRAYS = {
    "no arrays": bad(FOG, "data.root", "no CIFAR-10-C/*.npy in 'c'", "data.download=true"),
    "another corruption": bad(FOG.replace("fog", "forg"), "data.corruption", "got forg",
                              "mean fog?", "has fog", make=cifar_c()),
    "floats": bad(FOG, "data.root", "fog.npy is float64 [10, 32, 32, 3]", "takes uint8",
                  make=cifar_c(np.zeros((10, 32, 32, 3)))),
    "one channel": bad(FOG, "data.root", "fog.npy is uint8 [10, 32, 32, 1]", "takes uint8",
                       make=cifar_c(np.zeros((10, 32, 32, 1), np.uint8))),
    "flat images": bad(FOG, "data.root", "fog.npy is uint8 [10, 3072]", "height, width, 3]",
                       make=cifar_c(np.zeros((10, 3072), np.uint8))),
    "no images": bad(FOG, "data.root", "has 0 images",
                     make=cifar_c(np.zeros((0, 32, 32, 3), np.uint8))),
    "seven images": bad(FOG, "data.root", "has 7 images", "5 severities",
                        make=cifar_c(np.zeros((7, 32, 32, 3), np.uint8))),
    "half the labels": bad(FOG, "data.root", "labels.npy is int64 [5]", "takes integers [10]",
                           make=cifar_c(labels=np.arange(5))),
    "broken labels": bad(FOG, "data.root", "labels.npy is float64 [10]", "takes integers [10]",
                         make=cifar_c(labels=np.zeros(10))),
    "a label too many": bad(FOG, "data.root", "labels.npy goes from 1 to 10", "from 0 to 9",
                            make=cifar_c(labels=np.arange(1, 11))),
    "half an array": bad(FOG, "data.root", "fog.npy cannot be read as an array",
                         make=both(cifar_c(), cut("c/fog.npy"))),
    "objects": bad(FOG, "data.root", "fog.npy cannot be read as an array",
                   make=cifar_c(np.array([Runs(), None]))),
    "no labels": bad(FOG, "data.root", "labels.npy is missing",
                     make=both(cifar_c(), gone("c/labels.npy"))),
    "logits that are no file": bad("evaluate logits=nowhere.npz", "logits", "got 'nowhere.npz'",
                                   "no such file"),
    "logits that are text": bad("evaluate logits=x.npz", "logits", "is no npz of arrays",
                                make=put("x.npz")),
    "half the logits": bad("evaluate logits=x.npz", "logits", "is no npz of arrays",
                           make=both(arrays("x.npz", logits=LOGITS, label=LABEL), cut("x.npz"))),
    "logits without labels": bad("evaluate logits=x.npz", "logits", "lacks label", "it has logits",
                                 make=arrays("x.npz", logits=LOGITS)),
    "whole logits": bad("evaluate logits=x.npz", "logits", "int64 [4, 3]", "takes floats",
                        make=arrays("x.npz", logits=LOGITS.astype(int), label=LABEL)),
    "logits of one class": bad("evaluate logits=x.npz", "logits", "[4, 1]", "takes floats",
                               make=arrays("x.npz", logits=LOGITS[:, :1], label=LABEL)),
    "logits that are not finite": bad("evaluate logits=x.npz", "logits", "not all finite",
                                      make=arrays("x.npz", logits=ENDLESS, label=LABEL)),
    "a label beyond the logits": bad("evaluate logits=x.npz", "logits", "from 1 to 3", "0 to 2",
                                     make=arrays("x.npz", logits=LOGITS, label=LABEL + 1)),
    "labels of other images": bad("evaluate logits=x.npz", "logits", "int64 [3]", "integers [4]",
                                  make=arrays("x.npz", logits=LOGITS, label=LABEL[:3])),
    "an index twice": bad("evaluate logits=x.npz", "logits", "index takes each image once",
                          make=arrays("x.npz", logits=LOGITS, label=LABEL, index=LABEL)),
    "logits beside a network": bad(f"{SEEN} logits=x.npz", "network", "beside logits=FILE",
                                   "leave it out",
                                   make=arrays("x.npz", logits=LOGITS, label=LABEL)),
    "pairs that are text": bad(f"{SEEN} vicinal=true vicinal.pairs=x.npz", "vicinal.pairs",
                               "x.npz holds no pairs", make=put("x.npz")),
    "pairs beyond the images": bad(f"{SEEN} vicinal=true vicinal.pairs=x.npz", "vicinal.pairs",
                                   "names images 0 to 999",
                                   make=arrays("x.npz", i=np.array([0]), j=np.array([999]))),
    "an image with itself": bad(f"{SEEN} vicinal=true vicinal.pairs=x.npz", "vicinal.pairs",
                                "pairs an image with itself",
                                make=arrays("x.npz", i=np.array([1]), j=np.array([1]))),
    "pairs of floats": bad(f"{SEEN} vicinal=true vicinal.pairs=x.npz", "vicinal.pairs",
                           "float64 [1]", "takes int64",
                           make=arrays("x.npz", i=np.array([0.5]), j=np.array([1]))),
    "features of another class": bad(f"{SEEN} features.classes=[red,gren]", "features.classes",
                                     "got 'gren'", "did you mean green?"),
    "features of four images": bad(f"{SEEN} features=true", "features.classes",
                                   "4 test images of class", "takes five of each"),
}  # fmt: skip

WEIGHTS = {
    "weights that are not there": bad(f"{F} network.weights=nowhere.pt", "network.weights",
                                      "got 'nowhere.pt'", "no such file"),
    "weights that are text": bad(LOADED, "network.weights", "w.pt cannot be read",
                                 make=put("w.pt")),
    "half the weights": bad(LOADED, "network.weights", "w.pt cannot be read", make=cut("w.pt")),
    "no weights at all": bad(LOADED, "network.weights", "w.pt cannot be read", make=cut("w.pt", 0)),
    "weights that run": bad(LOADED, "network.weights", "w.pt cannot be read", make=pickled("w.pt")),
    "a list as weights": bad(LOADED, "network.weights", "w.pt holds no state dict",
                             make=lambda: torch.save([1], "w.pt")),
    "half of safetensors": bad(
        LOADED.replace("w.pt", "teacher/weights.safetensors"), "network.weights",
        "weights.safetensors cannot be read", make=cut("teacher/weights.safetensors")),
    "weights of another network": bad(
        LOADED, "network.weights", "w.pt is of another network", "it lacks", "and adds",
        make=lambda: torch.save(torch.nn.Linear(2, 2).state_dict(), "w.pt")),
    "weights of another depth": bad(
        LOADED, "network.weights", "w.pt is of another network", "and adds",
        make=lambda: torch.save(CifarResNet(14, 3).state_dict(), "w.pt")),
    "weights of other classes": bad(
        LOADED, "network.weights", "w.pt was trained on 100 classes; the data has 3",
        make=lambda: torch.save(CifarResNet(8, 100).state_dict(), "w.pt")),
    "weights of other names": bad(
        f"{LOADED} network.weights=teacher/weights.safetensors", "network.weights",
        "was trained on the 3 classes blue, green, red", "the data has the 3 classes blue, gre",
        make=moved(("images/train/red", "images/train/yellow"),
                   ("images/test/red", "images/test/yellow"))),
    "weights that are not finite": bad(LOADED, "network.weights",
                                       "w.pt holds values that are not finite, in conv1.weight",
                                       make=not_finite("w.pt")),
    "safetensors that are not finite": bad(
        LOADED.replace("w.pt", "n.safetensors"), "network.weights",
        "n.safetensors holds values that are not finite", make=not_finite("n.safetensors")),
    "a start that is not finite": bad(f"{TRAIN} network.weights=w.pt", "network.weights",
                                      "not finite", make=not_finite("w.pt")),
    "a teacher that is not finite": bad(
        f"{LEARN} teacher.run=null teacher=resnet20 teacher.args.depth=8 teacher.weights=w.pt",
        "teacher.weights", "not finite", make=not_finite("w.pt")),
    "no such model": bad(f"finetune {IMAGES} {QUICK} network=timm network.name=resnet19",
                         "network.name", "timm has no model 'resnet19'", "did you mean"),
    "no such callable": bad(f"finetune {IMAGES} {QUICK} network.factory=torch.nn.Nothing",
                            "network.factory", "got 'torch.nn.Nothing'", "takes package.module"),
    "an argument misspelt": bad(f"{TRAIN} network.args.dept=8", "network.args", "does not take",
                                "dept"),
    "a depth that is none": bad(f"{TRAIN} network.args.depth=9", "network.args", "9"),
    "a layer misspelt": bad(f"{LEARN} hint=rkd hint.student_layers=[layr3]", "hint.student_layers",
                            "got 'layr3'; the network has no such module (did you mean layer3?)"),
    "fewer layers of the teacher": bad(
        f"{LEARN} hint=at hint.student_layers=[layer1,layer2] hint.teacher_layers=[layer3]",
        "hint.teacher_layers", "got 1 beside 2 of the student", "takes as many of each"),
    "a layer that is no map": bad(
        f"{LEARN} hint=fitnet hint.student_layers=[penultimate] hint.teacher_layers=[penultimate]",
        "hint", "FitNet fails", "fitnet takes maps"),
    "attention of what is no map": bad(
        f"{LEARN} hint=at hint.student_layers=[penultimate] hint.teacher_layers=[penultimate]",
        "hint", "at fails when it is called", "takes [b, channels, height, width]"),
    "an argument of a hint misspelt": bad(f"{LEARN} hint=rkd hint.args.angel=1", "hint.args.angel",
                                          "no such argument", "did you mean angle?"),
    "a kernel that is none": bad(f"{LEARN} hint=cc hint.args.kernel=line", "hint", "got kernel"),
    "no negatives": bad(f"{LEARN} hint=crd hint.args.negatives=0", "hint", "got negatives=0"),
    "negatives of text": bad(f"{LEARN} hint=crd hint.args.negatives=many", "hint", "CRD fails"),
    "a divergence of text": bad(f"{LEARN} divergence=dkd divergence.args.beta=x", "divergence",
                                "dkd fails when it is called"),
    "a callable that gives no logits": bad(
        f"finetune {IMAGES} {QUICK} network.factory=torch.nn.Identity", "network",
        "gives torch.float32 (2, 3, 16, 16)", "takes logits of shape (2, 3)"),
}  # fmt: skip

RUNS = {
    "no run": bad("evaluate network.run=nowhere", "network.run", "got 'nowhere'", "no run there"),
    "a folder that is no run": bad("evaluate network.run=images", "network.run", "got 'images'",
                                   "holds a config.yaml"),
    "a configuration that is none": bad(SEEN, "network.run", "is no run's configuration",
                                        make=put("student/config.yaml", "[broken")),
    "a configuration that is a list": bad(SEEN, "network.run", "is no run's configuration",
                                          make=put("student/config.yaml", "[1, 2]")),
    "an empty configuration": bad(SEEN, "network.run", "is no run's configuration",
                                  make=put("student/config.yaml", "")),
    "half a configuration": bad(SEEN, "network.run", "is no run's configuration",
                                make=cut("student/config.yaml", 0.1)),
    "a configuration of another version": bad(
        SEEN, "network.run", "is of another version of mixkd", "student.flavour",
        make=edited("student/config.yaml", lambda c: c["student"].update(flavour=1))),
    "a run that is not finished": bad(SEEN, "network.run", "has not finished", "no weights",
                                      make=gone("student/weights.safetensors")),
    "an evaluation as a network": bad("evaluate network.run=evaluation", "network.run",
                                      "is of an evaluation", "takes a finetune or distill run"),
    "half of a run's weights": bad(SEEN, "network.weights", "cannot be read",
                                   make=cut("student/weights.safetensors")),
    "a run of other classes": bad(f"{SEEN} {IMAGES}", "network.weights",
                                  "was trained on the 3 classes",
                                  "the data has the 2 classes blue, green",
                                  make=gone("images/train/red", "images/test/red")),
    "a teacher of other classes": bad(
        f"{LEARN} data=digits data.root=null data.batch_size=128", "teacher.weights",
        "was trained on the 3 classes", "the data has the 10 classes"),
    "a teacher that saw what selects": bad(
        f"{LEARN} data.split_seed=5", "teacher.run", "teacher was trained on 3 of the 4 images",
        "that select here", "take the same images and split"),
    "a teacher of an older version": bad(
        f"{LEARN}", "teacher.run", "may have trained on images that select here",
        "does not say which", "take the same images and split",
        make=both(gone("teacher/trained_on.npy"),
                  edited("teacher/provenance.json", lambda p: p.update(fingerprints={})))),
    "a stranger's callable": bad(
        SEEN, "network.run", "names the callable os.system", "trust=[os]",
        make=edited("student/config.yaml",
                    lambda c: c["student"].update(name=None, factory="os.system"))),
    "images that are gone": bad(f"{SEEN} data.root=images", "data.root", "got 'images'",
                                "no such folder", make=gone("images")),
    "images of another run": bad(
        f"{SEEN} data.root=images", "data.root", "got 'images'", "holds other images in test/",
        "data=imagefolder data.root=DIR measures on others",
        make=gone("images/test/red/0001.jpg")),
    "a folder of an older version": bad(
        SEEN, "data.root", "student says 'images'", "of an unknown folder", "data.root=DIR",
        make=edited("student/config.yaml", lambda c: c["data"].update(root="images"))),
    "a place of another experiment": bad(f"{TRAIN} seed=3 run.dir=teacher", "run.dir",
                                         "holds another experiment", "take another directory"),
    "a place of something else": bad(f"{TRAIN} run.dir=images", "run.dir",
                                     "holds files that are not a run's", "takes"),
    "a place that is a file": bad(f"{TRAIN} run.dir=w.pt", "run.dir", "got 'w.pt'", "is a file",
                                  "takes a directory"),
    "a root that is a file": bad(f"{TRAIN} run.root=w.pt", "run.root", "w.pt", "takes another"),
    "a damaged status": bad(f"{TRAIN} run.dir=teacher", "run.dir", "status.json is damaged",
                            "mend or remove it", make=put("teacher/status.json", "{")),
    "a damaged provenance": bad(f"{TRAIN} run.dir=teacher", "run.dir",
                                "provenance.json is damaged", "mend or remove it",
                                make=cut("teacher/provenance.json")),
    "damaged metrics": bad(f"{TRAIN} run.dir=teacher", "run.dir", "metrics.json is damaged",
                           "mend or remove it", make=put("teacher/metrics.json", "")),
    "a provenance of another version": bad(
        f"{TRAIN} run.dir=teacher", "run.dir", "provenance.json is damaged", "fingerprints",
        make=both(interrupted("teacher"),
                  edited("teacher/provenance.json", lambda p: p.pop("fingerprints")))),
    "other images": bad(
        f"{TRAIN} run.dir=teacher", "run.dir", "holds another experiment",
        "take another directory", make=both(interrupted("teacher"), other_pixels)),
    "half a checkpoint": bad(f"{TRAIN} run.dir=teacher", "run.dir", "last.ckpt cannot be read",
                             "run.force=true starts over",
                             make=both(interrupted("teacher"),
                                       cut("teacher/checkpoints/last.ckpt"))),
    "a stranger's checkpoint": bad(
        f"{TRAIN} run.dir=teacher", "run.dir", "last.ckpt is no checkpoint of mixkd's", "lacks",
        "run.force=true",
        make=checkpoint("teacher", lambda held: [held.pop(key) for key in list(held)[1:]])),
    "a checkpoint of another version": bad(
        f"{TRAIN} run.dir=teacher", "run.dir", "last.ckpt is no checkpoint of mixkd's",
        "lacks epoch_so_far", "run.force=true",
        make=checkpoint("teacher", lambda held: held.pop("epoch_so_far"))),
    "a checkpoint of other classes": bad(
        f"{TRAIN} run.dir=teacher", "run.dir", "last.ckpt was trained on 10 classes",
        "the data has 3", "run.force=true",
        make=checkpoint("teacher", lambda held: held["state_dict"].update(
            {"network.core.linear.weight": torch.zeros(10, 64)}))),
    "a checkpoint of another network": bad(
        f"{TRAIN} run.dir=teacher", "run.dir", "last.ckpt is of another network",
        "network.core.linear.bias", "run.force=true",
        make=checkpoint("teacher",
                        lambda held: held["state_dict"].pop("network.core.linear.bias"))),
    "a damaged best": bad(f"{TRAIN} run.dir=teacher", "run.dir", "best.ckpt cannot be read",
                          "run.force=true starts over",
                          make=both(interrupted("teacher"),
                                    cut("teacher/checkpoints/best.ckpt"))),
    "a best that is gone": bad(f"{TRAIN} run.dir=teacher", "run.dir", "best.ckpt",
                               "run.force=true starts over",
                               make=both(interrupted("teacher"),
                                         gone("teacher/checkpoints/best.ckpt"))),
}  # fmt: skip

TAPES = {
    "a tape that is a file": bad(f"{LEARN} teacher.tape=w.pt", "teacher.tape", "got 'w.pt'",
                                 "takes a folder"),
    "half an epoch of a tape": bad(f"{TAPED} temperature=3", "teacher.tape",
                                   "epoch-0000.npy is damaged", "remove",
                                   make=tape(lambda path: cut(str(path))())),
    "an empty epoch of a tape": bad(f"{TAPED} temperature=3", "teacher.tape",
                                    "epoch-0000.npy is damaged", "remove",
                                    make=tape(lambda path: cut(str(path), 0)())),
    "text on a tape": bad(f"{TAPED} temperature=3", "teacher.tape", "epoch-0000.npy is damaged",
                          "remove", make=tape(lambda path: path.write_text("no logits"))),
    "a tape of other classes": bad(f"{TAPED} temperature=3", "teacher.tape",
                                   "epoch-0000.npy is damaged", "remove",
                                   make=tape(lambda path: np.save(path, np.zeros((3, 12, 10),
                                                                                 np.float16)))),
    "a tape of another dtype": bad(
        f"{TAPED} temperature=3", "teacher.tape", "epoch-0000.npy is damaged", "remove",
        make=tape(lambda path: np.save(path, np.load(path).astype(np.float64)))),
    "a tape that runs": bad(f"{TAPED} temperature=3", "teacher.tape", "epoch-0000.npy is damaged",
                            "remove", make=tape(lambda path: path.write_bytes(
                                pickle.dumps(Runs())))),
    "a tape half recorded and damaged": bad(f"{TAPED} temperature=3", "teacher.tape",
                                            "epoch-0000.part.npy is damaged", "remove",
                                            make=half_recorded(b"half")),
    "a tape too large": bad(f"{LEARN} teacher.tape=other teacher.tape_gb=1e-9", "teacher.tape_gb",
                            "GB", "takes up to 1e-09"),
}  # fmt: skip

PAIR = "compare network.run=student other.run=teacher"
LOOKS = {
    "nothing to compare": bad("compare", "network.run", "is missing", "takes the directory"),
    "one run to compare": bad("compare network.run=student", "other.run", "is missing", "takes"),
    "a run misspelt": bad("compare network.rn=a", "network.rn", "did you mean network.run?"),
    "a run that is not there": bad("compare network.run=nowhere other.run=teacher", "network.run",
                                   "no nowhere/predictions/test.npz", "takes the directory"),
    "another split": bad(f"{PAIR} split=val", "network.run", "val.npz", "a finished run"),
    "few draws": bad(f"{PAIR} draws=1", "draws", "got 1", "from 100 to 100000"),
    "draws of text": bad(f"{PAIR} draws=many", "draws", "got many", "from 100 to 100000"),
    "a table as a folder": bad(f"{PAIR} out=images", "out", "got 'images'", "takes a .csv file"),
    "half of predictions": bad(PAIR, "network.run", "test.npz holds no predictions",
                               make=cut("student/predictions/test.npz")),
    "predictions without nll": bad(PAIR, "network.run", "test.npz lacks nll",
                                   make=predictions(nll=None)),
    "predictions of other images": bad(PAIR, "other.run", "not of the same images",
                                       make=predictions(index=np.arange(12) + 1)),
    "predictions of two lengths": bad(PAIR, "network.run", "test.npz holds no predictions",
                                      "confidence", make=predictions(confidence=np.ones(3))),
    "predictions of text": bad(PAIR, "network.run", "test.npz holds no predictions", "nll",
                               make=predictions(nll=np.array(["a"] * 12))),
    "confidence beyond 1": bad(PAIR, "network.run", "test.npz holds no predictions", "confidence",
                               make=predictions(confidence=np.full(12, 1.5, np.float32))),
    "a loss that is not finite": bad(PAIR, "network.run", "test.npz holds no predictions", "nll",
                                     make=predictions(nll=np.full(12, np.nan, np.float32))),
    "a report on nothing": bad("report", "runs", "got 'runs'", "takes a folder of runs"),
    "a report on a file": bad("report runs=w.pt", "runs", "got 'w.pt'", "takes a folder of runs"),
    "a report without runs": bad("report runs=images", "runs", "images holds no runs", "takes"),
    "a report into a file": bad("report runs=. out=w.pt", "out", "got 'w.pt'", "takes a folder"),
    "a report's key": bad("report run=.", "run", "no such key", "did you mean runs?"),
    "a scale that was not": bad("report runs=. scale=paper", "scale", "got 'paper'",
                                "has no reproduction", "it has none"),
    "a plan that is damaged": bad("report runs=. scale=smoke", "runs",
                                  "reproduction-smoke.json is damaged", "mend or remove",
                                  make=put("reproduction-smoke.json", "{")),
    "a plan of another version": bad("report runs=. scale=smoke", "runs", "reproduction-smoke.json",
                                     make=put("reproduction-smoke.json", '{"expected": [{}]}')),
    "no artefact": bad("reproduce", "artefact", "none given", "takes table1"),
    "an artefact misspelt": bad("reproduce tabel1", "artefact", "got 'tabel1'", "mean table1?"),
    "a scale misspelt": bad("reproduce table1 scale=smok", "scale", "got 'smok'", "mean smoke?"),
    "a scale that is none": bad("reproduce table1 scale=s.yaml", "scale", "s.yaml is no scale",
                                make=put("s.yaml", "about: 3")),
    "a scale that is broken": bad("reproduce table1 scale=s.yaml", "scale", "s.yaml is no scale",
                                  make=put("s.yaml", "[")),
    "a preset of a study": bad("reproduce table1 protocol=party", "protocol", "got 'party'",
                               "did you mean parity?"),
    "seeds below 0": bad("reproduce table1 seeds=-1", "seeds", "got '-1'", "whole numbers"),
    "a plan misspelt": bad("reproduce table1 plan=yes", "plan", "got 'yes'", "takes true, false"),
    "a study's key": bad("reproduce table1 scael=smoke", "scael", "no such key", "mean scale?"),
    "a key for the artefact": bad("reproduce table1 temperature=3", "temperature",
                                  "is for the artefact to say"),
    "a study in a file": bad("reproduce table1 runs=w.pt", "runs", "got 'w.pt'", "is a file",
                             "takes a folder"),
    "a study's launcher": bad("reproduce table1 launcher=slrum", "launcher", "mean slurm?"),
}  # fmt: skip

TABLES = {
    "command": COMMANDS,
    "type": TYPES,
    "key": KEYS,
    "contradiction": CONTRADICTIONS,
    "sweep": SWEEPS,
    "data": DATA,
    "array": ARRAYS,
    "weights": WEIGHTS,
    "run": RUNS,
    "tape": TAPES,
    "look": LOOKS,
}
BAD = {f"{kind}: {name}": row for kind, rows in TABLES.items() for name, row in rows.items()}
