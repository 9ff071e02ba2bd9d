"""Networks: what they are, how they are built, weights in and out, where they come from."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "mobilenetv2":  # what conf/network/ and saved runs name; timm is imported with it
        from mixkd.networks.build import mobilenetv2

        return mobilenetv2
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
