from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixkd.data.pairs import are_drawn_pairs, draw_pairs, load_pairs
from mixkd.errors import UserError


def test_pairs_share_no_image() -> None:
    pairs = draw_pairs(101, 40, seed=1)
    assert pairs.i.dtype == pairs.j.dtype == np.int64
    indices = np.concatenate(pairs)
    assert len(set(indices.tolist())) == 80
    assert indices.min() >= 0
    assert indices.max() <= 100
    assert len(draw_pairs(101, 5000, seed=1).i) == 50  # as many as there are


def test_pairs_follow_from_the_seed() -> None:
    first, repeated, other = (draw_pairs(50, 10, seed) for seed in (3, 3, 4))
    assert np.array_equal(first, repeated)
    assert not np.array_equal(first, other)


def test_a_file_is_written_once_and_read_after(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "pairs.npz"
    sizes = {"train": 90, "test": 30}
    drawn = load_pairs(path, sizes, 100, seed=0)
    assert [len(drawn[split].i) for split in sizes] == [45, 15]
    with np.load(path) as saved:
        assert saved["i"].dtype == np.int64
        assert np.array_equal(saved["i"], drawn["test"].i)
        assert np.array_equal(saved["train_j"], drawn["train"].j)
    reread = load_pairs(path, sizes, 3, seed=9)
    assert all(np.array_equal(reread[split], drawn[split]) for split in sizes)
    with pytest.raises(UserError, match="was drawn for other data"):
        load_pairs(path, {"train": 92, "test": 30}, 100, seed=0)


def test_pairs_from_elsewhere_serve_every_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", i=[0, 5], j=[2, 7])
    pairs = load_pairs(tmp_path / "p.npz", {"train": 90, "test": 8}, 100, seed=0)
    assert np.array_equal(pairs["train"], pairs["test"])
    assert pairs["test"].j.tolist() == [2, 7]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"i": [0, 1], "j": [2, 30]}, "names images 0 to 30; test has 30"),
        ({"i": [-1, 1], "j": [2, 3]}, "names images -1 to 3; test has 30"),
        ({"i": [0, 1], "j": [2]}, r"j is int64 \[1\]; takes int64 \[pairs\]"),
        ({"i": [0.5], "j": [1.0]}, r"i is float64 \[1\]"),
        ({"i": [0]}, "holds no pairs"),
        ({"i": [3, 4], "j": [5, 4]}, "pairs an image with itself"),
        ({"i": np.zeros(0, int), "j": np.zeros(0, int)}, r"i is int64 \[0\]; takes int64"),
        ({"i": np.array([{}]), "j": [0]}, "holds no pairs"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "p.npz", **{k: np.asarray(v) for k, v in content.items()})
    with pytest.raises(UserError, match=message) as error:
        load_pairs(tmp_path / "p.npz", {"test": 30}, 5, seed=0)
    assert error.value.problems[0].key == "vicinal.pairs"


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", i=[0], j=[1])
    (tmp_path / "p.npz").write_bytes((tmp_path / "p.npz").read_bytes()[:90])
    with pytest.raises(UserError, match="holds no pairs"):
        load_pairs(tmp_path / "p.npz", {"test": 30}, 5, seed=0)
    (tmp_path / "p.npz").write_bytes(b"no pairs")
    with pytest.raises(UserError, match="holds no pairs"):
        load_pairs(tmp_path / "p.npz", {"test": 30}, 5, seed=0)
    np.save(tmp_path / "q.npy", np.zeros(3))
    with pytest.raises(UserError, match="holds no pairs"):
        load_pairs(tmp_path / "q.npy", {"test": 30}, 5, seed=0)


def test_pairs_of_another_order_of_bytes_are_the_same(tmp_path: Path) -> None:
    path, sizes = tmp_path / "pairs.npz", {"test": 30}
    drawn = load_pairs(path, sizes, 10, seed=0)
    with np.load(path) as saved:
        arrays = {name: saved[name].astype(">i8") for name in saved.files}
    np.savez(path, junk=np.zeros((2, 2)), **arrays)
    reread = load_pairs(path, sizes, 10, seed=0)
    assert reread["test"].i.dtype.isnative
    assert np.array_equal(reread["test"], drawn["test"])
    assert are_drawn_pairs(path, 0, 10)
