"""The same command gives the same numbers, digit for digit, in another process too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.child import in_child

pytestmark = pytest.mark.integration

DATA = ["data=imagefolder", "data.root=images", "data.batch_size=16", "trainer.max_epochs=2"]
ON_DISK = ["data.resident=false", "data.size=16", "data.pad=1", "data.workers=2"]
COMMANDS = [
    ["finetune", *DATA, "data.pad=1", "network=resnet20", "network.args.depth=8"],
    ["distill", *DATA, *ON_DISK, "student=resnet20", "student.args.depth=8", "callbacks=none"],
]


def test_the_same_commands_from_scratch_end_the_same(
    mixkd: Callable[..., int], image_folder: Path
) -> None:
    def teacher(root: str) -> list[str]:
        found = next(Path(root).glob("*/finetune/*"))
        return [f"teacher.run={found}"]

    assert mixkd(*COMMANDS[0], "run.root=here") == 0
    there = in_child(
        """
        finetuned = mixkd(*commands[0], "run.root=there")
        teacher = next(Path("there").glob("*/finetune/*"))
        distilled = mixkd(*commands[1], "run.root=there", f"teacher.run={teacher}")
        print(json.dumps({"finetune": finetuned, "distill": distilled}))
        """,
        commands=COMMANDS,
    )
    assert (there["finetune"][0], there["distill"][0]) == (0, 0), there
    assert mixkd(*COMMANDS[1], "run.root=here", *teacher("here")) == 0
    for task in ("finetune", "distill"):
        one, other = (next(Path(root).glob(f"*/{task}/*")) for root in ("here", "there"))
        assert one.name == other.name
        names = ("metrics.json", "history.csv", "weights.safetensors", "reliability.csv")
        for name in (*names, "figures/reliability-test.svg"):
            assert (one / name).read_bytes() == (other / name).read_bytes(), (task, name)
