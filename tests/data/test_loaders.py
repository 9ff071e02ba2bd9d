"""What an ordinary loader gives: how many images, each once, and those of drawn pairs."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from mixkd.data.loaders import PairImages, Share, first_loader
from mixkd.data.pairs import draw_pairs

IMAGES, LABEL = torch.arange(31.0)[:, None], torch.arange(31) % 3


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_take_each_image_once(processes: int, shuffle: bool) -> None:
    data = TensorDataset(IMAGES, LABEL)
    taken: list[Tensor] = []
    for rank in range(processes):
        sampler: Any = DistributedSampler(data, processes, rank, shuffle=shuffle)
        loader = DataLoader(data, 4, sampler=sampler)
        share = Share(loader)
        parts = [share.take(batch) for batch in loader]
        images = torch.cat([part.images for part in parts])
        assert share.n == len(images)
        position = torch.cat([part.position for part in parts])
        assert position.tolist() == list(range(rank, 31, processes))
        assert all(torch.equal(part.label, part.images[:, 0].long() % 3) for part in parts)
        taken.append(images)
    assert sorted(torch.cat(taken).flatten().tolist()) == list(range(31))


@pytest.mark.parametrize(
    ("options", "batches", "n"),
    [
        ({"batch_size": 4}, torch.inf, 31),
        ({"batch_size": 4}, 3, 12),
        ({"batch_size": 4, "drop_last": True}, torch.inf, 28),
        ({"batch_size": None}, torch.inf, None),
    ],
)
def test_a_loader_may_tell_how_many_images_it_has(
    options: dict[str, Any], batches: float, n: int | None
) -> None:
    assert Share(DataLoader(TensorDataset(IMAGES, LABEL), **options), batches).n == n
    assert Share([(IMAGES, LABEL)]).n is None
    assert Share(iter([(IMAGES, LABEL)])).n is None


@pytest.mark.parametrize("n", [31, None, 40])
def test_the_images_of_pairs_are_those_that_are_drawn(n: int | None) -> None:
    pairs = PairImages(n, 7, seed=3)
    for batch in torch.split(IMAGES, 4):
        pairs.add(batch)
    first, second = pairs.pairs()
    i, j = (torch.from_numpy(side) for side in draw_pairs(n or 31, 7, 3))
    came = (i < 31) & (j < 31)  # of 40 that were promised
    assert torch.equal(first, IMAGES[i[came]])
    assert torch.equal(second, IMAGES[j[came]])


def test_the_first_of_several_loaders() -> None:
    assert first_loader(7) == first_loader([7, 8]) == first_loader({"a": 7}) == 7
    assert first_loader({"a": [7, 8], "b": 9}) == 7
    assert first_loader([]) == []
