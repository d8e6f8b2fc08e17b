"""What a GPU wants done otherwise than a CPU: its name, the way from its memory, recordings of its work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from inkfish.errors import SettingError

__all__ = ["capture", "check_device", "to_host"]

T = TypeVar("T")


def check_device(name: str | None) -> torch.device:
    """Return a device by its name, or the best one there is.

    Raises:
        SettingError: torch does not know it, or sees none such here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):  # what torch raises for names, missing devices and missing builds
        raise SettingError(
            f"device is {name!r}; torch finds no such device here: use cpu, or a torch that was built for it",
            param="device",
        ) from None
    return device


def to_host(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Bring tensors of one device to the host; from a GPU through pinned memory, with one wait for all."""
    if tensors[0].device.type != "cuda":
        return [tensor.cpu().numpy() for tensor in tensors]
    copies = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    return [copy.numpy() for copy in copies]


def capture(run: Callable[[], T]) -> Callable[[], T]:
    """Record what a function does on the GPU, and return what does it again on the same memory."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # libraries set themselves up outside the recording
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run()

    def replay() -> T:
        graph.replay()
        return found

    return replay
