"""Tensors of which each process has a part (torch's DTensor): put together, and cut like another one."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["cut_like", "full"]


def full(tensor: Tensor) -> Tensor:
    """Return a tensor whole; where it is in parts, every process must ask at the same time."""
    if type(tensor) in (Tensor, nn.Parameter):
        return tensor
    from torch.distributed.tensor import DTensor  # here: it takes half a second

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def cut_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a value that every process has whole in the parts in which a parameter of its shape is."""
    if type(parameter) in (Tensor, nn.Parameter) or value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter, DTensor):
        return value
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
