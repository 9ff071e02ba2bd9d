"""CRD on mixed images: its positives, its negatives and its memories."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, distributed

from mixkd.losses.hints.crd import CRD
from tests.processes import forked

POSITIONS = torch.tensor([3, 4, 7, 10, 11, 12, 20, 21, 22, 23, 30, 31])  # of a larger data set
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 2, 2, 5])  # none of class 4, one of class 5
ROWS = torch.tensor([1, 2, 9, 5])
PARTNERS = torch.tensor([2, 1, 0, 6])
LAM = torch.tensor([0.75, 0.4, 1.0, 0.0], dtype=torch.float64)


def crd(**options: Any) -> CRD:
    torch.manual_seed(0)
    given = {"dim": 6, "negatives": 8} | options
    return CRD((5,), (7,), POSITIONS, LABELS, **given).double()  # type: ignore[arg-type]


def features() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(4, n, generator=generator, dtype=torch.float64) for n in (5, 7))
    return student, teacher


def mixed(rows: Tensor = ROWS, partners: Tensor = PARTNERS, lam: Tensor = LAM) -> dict[str, Tensor]:
    return {"index": POSITIONS[rows], "label": LABELS[rows], "partner_index": POSITIONS[partners],
            "partner": LABELS[partners], "lam": lam}  # fmt: skip


NEGATIVE = torch.randint(0, 12, (4, 8), generator=torch.Generator().manual_seed(2))


def test_both_images_are_positives_by_lambda() -> None:
    def value(**given: Any) -> Tensor:
        hint = crd()
        hint.z.copy_(torch.tensor([30.0, 40.0]))  # as after a first step
        loss: Tensor = hint(*features(), **given, negative=NEGATIVE)
        return loss

    for lam in (0.0, 0.3, 1.0):
        one, other = value(**mixed(lam=0 * LAM + 1)), value(**mixed(lam=0 * LAM))
        both = value(**mixed(lam=0 * LAM + lam))
        assert both.item() == pytest.approx((lam * one + (1 - lam) * other).item(), rel=1e-12)
    alone = value(index=POSITIONS[ROWS], label=LABELS[ROWS])
    assert alone.item() == pytest.approx(value(**mixed(lam=0 * LAM + 1)).item(), rel=1e-12)
    swapped = value(**mixed(PARTNERS, ROWS, 1 - LAM))
    assert swapped.item() == pytest.approx(value(**mixed()).item(), rel=1e-12)


def test_memories_move_by_lambda() -> None:
    hint = crd(momentum=0.25)
    student, teacher = features()
    before = hint.memory_student.clone(), hint.memory_teacher.clone()
    hint(student, teacher, **mixed())
    embedded = F.normalize(hint.embed_student(student)), F.normalize(hint.embed_teacher(teacher))
    others = torch.ones(12, dtype=torch.bool)
    others[ROWS] = False
    for memory, was, now in zip(
        (hint.memory_student, hint.memory_teacher), before, embedded, strict=True
    ):
        share = 0.75 * LAM[:, None]
        torch.testing.assert_close(memory[ROWS], F.normalize((1 - share) * was[ROWS] + share * now))
        assert torch.equal(memory[others], was[others])
    assert not torch.equal(hint.memory_student[ROWS[2]], before[0][ROWS[2]])


def test_z_is_set_by_the_first_batch_alone() -> None:
    hint = crd()
    assert hint.z.tolist() == [-1, -1]
    hint(*features(), **mixed())
    first = hint.z.clone()
    assert (first > 0).all()
    hint(*features(), **mixed(PARTNERS, ROWS))
    assert torch.equal(hint.z, first)


def test_negatives_are_of_neither_class() -> None:
    hint = crd(negatives=2000)
    label, partner = (x.flatten() for x in torch.meshgrid(*2 * [torch.tensor([0, 1, 2, 3, 5])],
                                                           indexing="ij"))  # fmt: skip
    for a, b, drawn in zip(label, partner, hint._drawn(label, partner), strict=True):
        reachable = [row for row, y in enumerate(LABELS) if y not in (a, b)]
        assert sorted(set(drawn.tolist())) == reachable


def test_negatives_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal shares of [0, 1) are drawn: each image is drawn as often as any other, exactly."""
    for a in (0, 1, 2, 3, 5):
        for b in (0, 1, 2, 3, 5):
            reachable = [row for row, y in enumerate(LABELS) if y not in (a, b)]
            count = 10 * len(reachable)
            shares = (torch.arange(count, dtype=torch.float64) + 0.5)[None] / count
            hint = crd(negatives=count)
            with monkeypatch.context() as patch:
                patch.setattr(torch, "rand", lambda *shape, shares=shares, **_: shares)
                (drawn,) = hint._drawn(torch.tensor([a]), torch.tensor([b]))
            assert drawn.bincount(minlength=12)[reachable].tolist() == [10] * len(reachable)


@pytest.mark.parametrize("position", [-1, 5, 0, 32, 10**6])
@pytest.mark.parametrize("key", ["index", "partner_index"])
def test_positions_that_are_not_of_training_images_are_refused(position: int, key: str) -> None:
    given = mixed()
    given[key] = given[key].clone()
    given[key][1] = position
    with pytest.raises(ValueError, match="crd takes the images' positions, which mixkd's data"):
        crd()(*features(), **given)


@pytest.mark.parametrize(
    "options", [{"negatives": 0}, {"tau": 0.0}, {"momentum": 1.0}, {"momentum": -0.1}]
)
def test_what_an_argument_does_not_take_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="takes 1 or more, a number above 0, and one in"):
        crd(**options)
    with pytest.raises(ValueError, match="takes three classes or more"):
        CRD((5,), (7,), torch.arange(4), torch.tensor([0, 4, 0, 4]))


def of_half(rank: int, port: int, out: str) -> None:
    """Be one of two processes, which sees half of the batch."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    half = slice(2 * rank, 2 * rank + 2)
    hint, (student, teacher) = crd(), features()
    for rows, partners in ((ROWS, PARTNERS), (PARTNERS, ROWS)):
        given = {name: value[half] for name, value in mixed(rows, partners).items()}
        value = hint(student[half], teacher[half], **given, negative=NEGATIVE[half])
    held = {"z": hint.z, "student": hint.memory_student, "teacher": hint.memory_teacher}
    torch.save({**held, "value": value.detach()}, Path(out, f"{rank}.pt"))
    distributed.destroy_process_group()


@pytest.mark.integration
def test_two_processes_hold_the_memory_of_one(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        forked(of_half, 0, port, str(tmp_path)) as first,
        forked(of_half, 1, port, str(tmp_path)) as second,
    ):
        errors = first.stderr.read() + second.stderr.read()
        assert (first.wait(), second.wait()) == (0, 0), errors
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    hint = crd()
    for rows, partners in ((ROWS, PARTNERS), (PARTNERS, ROWS)):
        value = hint(*features(), **mixed(rows, partners), negative=NEGATIVE)
    whole = {"z": hint.z, "student": hint.memory_student, "teacher": hint.memory_teacher}
    for name, tensor in whole.items():
        assert torch.equal(one[name], two[name])
        torch.testing.assert_close(one[name], tensor)
    assert value.item() == pytest.approx((one["value"] + two["value"]).item() / 2)
