"""Where factories have moved to that the configurations of older runs and exports name."""

from typing import Any

MOVED = {"mixkd.cifar_resnet.cifar_resnet": "mixkd.networks.cifar.resnet.cifar_resnet"}


def with_moved(saved: Any) -> Any:
    """Return a saved configuration, or a part of one, with the present names of its factories."""
    if isinstance(saved, dict):
        return {
            key: MOVED.get(value, value)
            if key == "factory" and isinstance(value, str)
            else with_moved(value)
            for key, value in saved.items()
        }
    return [with_moved(value) for value in saved] if isinstance(saved, list) else saved
