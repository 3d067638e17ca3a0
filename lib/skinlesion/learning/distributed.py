"""One run on several devices: started by torchrun, each process takes its share of every batch."""

from __future__ import annotations

import datetime
import os

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn import functional as collective


def start() -> bool:
    """Join the other processes if torchrun started this one; say whether it did.

    NCCL connects GPUs, gloo CPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return False
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=datetime.timedelta(hours=2))  # one may decode longer than another
    return True


def stop() -> None:
    """Leave the other processes."""
    if active():
        distributed.destroy_process_group()


def active() -> bool:
    """Say whether this process is one of several."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return this process's number, from zero; the first one writes and reports."""
    return distributed.get_rank() if active() else 0


def world_size() -> int:
    """Return how many processes there are."""
    return distributed.get_world_size() if active() else 1


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model as one of several copies that train together: same batch statistics, mean gradients."""
    if not active():
        return model
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(share_statistics(model), device_ids=ids)


def total(value: Tensor) -> Tensor:
    """Return the sum of `value` over all processes."""
    if active():
        distributed.all_reduce(value)
    return value


def gather(values: Tensor, count: int) -> Tensor:
    """Put together what each process made of its share, rows ``rank::world_size`` of `count`; on the CPU."""
    if not active():
        return values
    parts: list[Tensor | None] = [None] * world_size()
    distributed.all_gather_object(parts, values.cpu())
    whole = torch.empty((count, *values.shape[1:]), dtype=values.dtype)
    for number, part in enumerate(parts):
        assert part is not None
        whole[number :: world_size()] = part
    return whole


def share(rows: np.ndarray) -> np.ndarray:
    """Return this process's share of some rows."""
    return rows[rank() :: world_size()]


def share_statistics(model: nn.Module) -> nn.Module:
    """Make every batch norm of `model` see the batch of all processes, in place; names and values stay."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d
    return model


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes.

    torch's own SyncBatchNorm runs on GPUs alone; this one runs where it is tested. Every process must have at
    least one image; they need not have the same number.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise float of shape (B, C, H, W)."""
        if not (self.training and active()):
            return super().forward(input)
        images = input.float()
        count = images.new_full((1,), images.numel() / images.shape[1])
        sums = torch.cat([count, images.sum(dim=(0, 2, 3)), images.square().sum(dim=(0, 2, 3))])
        count, sums, squares = collective.all_reduce(sums).split([1, self.num_features, self.num_features])
        mean = sums / count
        variance = (squares / count - mean.square()).clamp(min=0)
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (images * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)).to(input.dtype)
