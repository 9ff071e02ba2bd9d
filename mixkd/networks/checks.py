"""Whether a network gives logits of the data's images, and can learn from them."""

import random
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mixkd.console import say
from mixkd.errors import UserError, first_line
from mixkd.networks.network import Network, logits_of
from mixkd.networks.state_dict import first_few


@contextmanager
def eval_mode(*models: Any) -> Iterator[None]:
    """Keep the modules among models in eval mode, then give each part its own mode again."""
    modules = [m for model in models if isinstance(model, nn.Module) for m in model.modules()]
    modes = [(module, module.training) for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Query a network on the CPU; leave its mode, buffers and what is random as they were."""
    training, buffers = network.training, {n: b.clone() for n, b in network.named_buffers()}
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        network.train(training)
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])


def check_logits(network: Network, classes: int, shape: tuple[int, int], key: str) -> None:
    """Query a network once, in eval mode on two grey images, to see that it gives logits.

    Raises:
        UserError: if it fails on such images or gives anything else.
    """
    try:
        # Not in inference mode, in which a tensor that a network keeps is of no use in training.
        with undisturbed(network), torch.no_grad():
            answer = network.eval().answer(torch.full((2, 3, *shape), 0.5))
    except Exception as error:  # whatever a stranger's network makes of it
        text = f"fails on {shape[1]}x{shape[0]} images: {first_line(error)}"
        raise UserError.of(key, text) from error
    _check_answer(answer, (2, classes), key)


def check_training(
    network: Network, classes: int, shape: tuple[int, int], key: str, batch: int
) -> None:
    """Take one step of a network that learns, but for the update, to see that it can.

    The parameters that no gradient reaches are noted in `network.unreached`.

    Args:
        network: on the CPU.
        classes: how many the data has.
        shape: height and width of the views.
        key: what to call the network in messages.
        batch: images of a process at a time; two are tried first, which takes less time.

    Raises:
        UserError: if it fails in training mode, gives no logits there, or nothing of it learns.
    """
    learning = {name: p for name, p in network.core.named_parameters() if p.requires_grad}
    if not learning:
        raise UserError.of(key, "has no parameter that learns (requires_grad)")
    noise = torch.Generator().manual_seed(0)
    for images in dict.fromkeys((2, batch)):
        view = torch.rand(images, 3, *shape, generator=noise)
        try:
            with undisturbed(network):
                answer = network.train().answer(view)
                logits = _check_answer(answer, (images, classes), key, " while it trains")
                gradients: Sequence[Tensor | None] = [None] * len(learning)
                if logits.requires_grad:
                    total = logits.float().sum()
                    gradients = torch.autograd.grad(total, [*learning.values()], allow_unused=True)
            break
        except UserError:
            raise
        except Exception as error:  # whatever a stranger's network makes of it
            cause = error
    else:
        text = f"fails in training on {batch} images of {shape[1]}x{shape[0]}: {first_line(cause)}"
        raise UserError.of(key, text) from cause
    unreached = [name for name, g in zip(learning, gradients, strict=True) if g is None]
    if len(unreached) == len(learning):
        raise UserError.of(key, "gives logits that depend on no parameter that learns")
    if unreached:
        say(f"{key}: {first_few(unreached)} learn nothing: the logits do not depend on them")
    network.unreached = unreached


def use_channels_last(network: Network, check: Callable[[], object], key: str) -> None:
    """Keep a pixel's channels together in memory, where convolutions are faster.

    A network of which `check` raises then, as one that flattens by `view`, stays as it is; a line
    says so.
    """
    try:
        network.to(memory_format=torch.channels_last)
        check()
    except (RuntimeError, UserError) as error:
        network.to(memory_format=torch.contiguous_format)
        check()
        say(f"{key}: not in channels_last, where it fails ({error})")


def _described(answer: Any) -> str:
    """Return what a network returned, in few words."""
    if isinstance(answer, Tensor):
        return f"{answer.dtype} {tuple(answer.shape)}"
    count = f" of {len(answer)}" if isinstance(answer, Sized) else ""
    return f"a {type(answer).__name__}{count}"


def _check_answer(answer: object, shape: tuple[int, int], key: str, when: str = "") -> Tensor:
    """Return the logits among what a network returned; refuse other than floats of this shape."""
    logits: object = logits_of(answer)
    if not isinstance(logits, Tensor) or logits.shape != shape or not logits.is_floating_point():
        images = "two" if shape[0] == 2 else shape[0]
        text = f"gives {_described(logits)} for {images} images{when}; takes logits of shape "
        text += f"{shape}, one for each class of the data ({key}.args={{num_classes: {shape[1]}}} "
        raise UserError.of(key, f"{text}is passed to a factory)")
    if answer is not logits:
        say(f"{key}: returns {_described(answer)}{when}: the logits are taken, the others not")
    return logits
