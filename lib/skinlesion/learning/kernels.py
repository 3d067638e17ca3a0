"""Batch norm, activations and depthwise convolutions of training on a CPU, compiled from ``kernels.c`` when needed.

These layers do little arithmetic on much memory, and torch goes through that memory for each of them again. C, since it
shares torch's own threads: a second set of them, as numba brings, would wait for the first. A C compiler with OpenMP is
all that is asked for; where there is none, torch's own operations do the same.
"""

from __future__ import annotations

import copy
import ctypes
import functools
import itertools
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

SOURCE = Path(__file__).with_suffix(".c")
KINDS = {nn.ReLU: 1, nn.ReLU6: 2, nn.Hardswish: 3, nn.SiLU: 4}
"""The activations of ``kernels.c``, by their number there; zero is none."""

_FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC"]


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the compiled operations for one type of images, or None where they cannot be had.

    They are compiled in about a second for the processor at hand, in each process anew: nothing is left behind that
    another machine, or another version, could mistake for its own. ``CC`` names another compiler than ``cc``.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        return None
    pool = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    kind = ["-DBFLOAT16"] if dtype == torch.bfloat16 else []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kernels.so"
        linked = [str(SOURCE), "-Wl,--as-needed", *map(str, pool), "-lm", "-o", str(made)]
        try:
            subprocess.run([*_compiler(), *kind, *_FLAGS, *linked], check=True, capture_output=True, timeout=1800)
            loaded = ctypes.CDLL(str(made))
        except (OSError, ValueError, subprocess.SubprocessError):  # no compiler, no command, or one that fails
            return None
    return loaded if _shares_threads(loaded) else None


def describe(dtype: torch.dtype) -> str:
    """Say what computes these layers in training: torch, or ``kernels.c`` and which compiler made it."""
    if library(dtype) is None:
        return "torch"
    version = subprocess.run([*_compiler(), "--version"], check=True, capture_output=True, text=True).stdout
    return f"kernels.c, {version.splitlines()[0]}"


def suit(model: nn.Module) -> nn.Module:
    """Make `model` train quickly on a CPU, in place; names, values and, but for rounding, results stay.

    An activation is computed with the batch norm it follows, and both with the depthwise convolution behind them, where
    they stand in an ``nn.Sequential``, as in torchvision's blocks; elsewhere each is computed alone.
    """
    for module in model.modules():
        if type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats and module.momentum:
            module.__class__ = BatchNormActivation
            module.activation = nn.Identity()
        elif type(module) is nn.Conv2d and _is_depthwise(module):
            module.__class__ = DepthwiseConv2d
            module.__dict__["norm"] = None  # no child: it has its name elsewhere
    blocks = [module for module in model.modules() if isinstance(module, nn.Sequential)]
    for block in blocks:
        for place in range(len(block) - 1):
            norm, activation = block[place], block[place + 1]
            if isinstance(norm, BatchNormActivation) and type(activation) in KINDS:
                norm.activation, block[place + 1] = activation, nn.Identity()
    for block in blocks:
        steps = [step for step in block if not isinstance(step, nn.Identity)]
        for before, after in itertools.pairwise(steps):
            norm, convolution = _end(before, -1), _end(after, 0)
            if isinstance(norm, BatchNormActivation) and isinstance(convolution, DepthwiseConv2d):
                norm.deferred = True
                convolution.__dict__["norm"] = norm
    return model


def fold(model: nn.Module) -> nn.Module:
    """Return a copy of `model`, in evaluation mode, that scores quickly: batch norm is part of the convolution.

    Results stay but for rounding. Where the two do not follow each other in an ``nn.Sequential``, nothing is changed.
    """
    model = copy.deepcopy(model).eval().to(memory_format=torch.channels_last)
    for block in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for place in range(len(block) - 1):
            convolution, norm = block[place], block[place + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[place] = fuse_conv_bn_eval(convolution, norm)
                block[place + 1] = norm.activation if isinstance(norm, BatchNormActivation) else nn.Identity()
    return model


class BatchNormActivation(nn.BatchNorm2d):
    """Batch norm, then its ``activation``; a ``deferred`` one is left to the convolution behind it."""

    activation: nn.Module
    deferred = False

    def forward(self, input: Tensor) -> Tensor:
        """Normalise and activate float of shape (B, C, H, W)."""
        compiled = self.compiled(input)
        if compiled is None:
            return self.activation(super().forward(input))
        return input if self.deferred else _Normalise.apply(input, self.weight, self.bias, self, compiled)

    def compiled(self, input: Tensor) -> ctypes.CDLL | None:
        """Return what computes this in training; a single pixel has no variance, and torch says so."""
        ready = self.training and input.device.type == "cpu" and input.numel() > input.shape[1]
        return library(input.dtype) if ready else None

    def know(self, input: Tensor, compiled: ctypes.CDLL) -> Tensor:
        """Return what the batch says, float32 of shape (4, C): mean, 1 / deviation, and the scale and shift of both."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        assert self.momentum is not None
        known = self.weight.new_empty(4, self.num_features)
        moments = ctypes.c_double(self.momentum), ctypes.c_double(self.eps)
        given = _pointers(self.weight, self.bias, self.running_mean, self.running_var)
        _call(compiled.statistics, *_pointers(input), *_rows(input), *given, *moments, *_pointers(known))
        return known

    @property
    def kind(self) -> int:
        """The number of the activation in ``kernels.c``."""
        return KINDS.get(type(self.activation), 0)


class DepthwiseConv2d(nn.Conv2d):
    """A convolution in which each channel has a filter of its own; ``norm`` is the batch norm deferred to it."""

    norm: BatchNormActivation | None

    def forward(self, input: Tensor) -> Tensor:
        """Convolve float of shape (B, C, H, W)."""
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        norm = self.norm if self.norm is not None and self.norm.compiled(input) is not None else None
        if torch.is_autocast_enabled("cpu"):
            input = input.to(torch.get_autocast_dtype("cpu"))
        compiled = library(input.dtype)
        if compiled is not None:
            affine = (norm.weight, norm.bias) if norm is not None else (None, None)
            return _Depthwise.apply(input, self.weight, *affine, self.stride[0], norm, compiled)
        # oneDNN has no fast gradient in bfloat16 where the stride is not one.
        with torch.autocast("cpu", enabled=self.stride[0] == 1):
            return super().forward(input if self.stride[0] == 1 else input.float()).to(input.dtype)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, norm: BatchNormActivation, compiled: ctypes.CDLL
    ) -> Tensor:
        input = input.contiguous(memory_format=torch.channels_last)
        output, known = torch.empty_like(input), norm.know(input, compiled)
        _call(compiled.normalise, *_pointers(input, output), *_rows(input), *_pointers(known), norm.kind)
        ctx.save_for_backward(input, known)
        ctx.compiled, ctx.kind = compiled, norm.kind
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, known = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        output, affine = torch.empty_like(input), known.new_empty(2, known.shape[1])
        images = _pointers(input, gradient, output)
        _call(ctx.compiled.normalise_back, *images, *_rows(input), *_pointers(known, affine), ctx.kind)
        return output, *affine, None, None


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        norm_weight: Tensor | None,
        norm_bias: Tensor | None,
        stride: int,
        norm: BatchNormActivation | None,
        compiled: ctypes.CDLL,
    ) -> Tensor:
        input, weight = input.contiguous(memory_format=torch.channels_last), weight.contiguous()
        images, channels, height, width = input.shape
        shape = images, channels, (height - 1) // stride + 1, (width - 1) // stride + 1
        output = torch.empty(shape, dtype=input.dtype, memory_format=torch.channels_last)
        known = None if norm is None else norm.know(input, compiled)
        ctx.sizes = [ctypes.c_int64(size) for size in (images, height, width, channels, weight.shape[-1], stride)]
        ctx.compiled, ctx.kind = compiled, 0 if norm is None else norm.kind
        _call(compiled.depthwise, *_pointers(input, output, weight), *ctx.sizes, *_pointers(known), ctx.kind)
        ctx.save_for_backward(input, weight, known)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, weight, known = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        output, slope, affine = torch.empty_like(input), torch.empty_like(weight), weight.new_empty(2, len(weight))
        tensors = _pointers(input, gradient, output, weight, slope)
        _call(ctx.compiled.depthwise_back, *tensors, *ctx.sizes, *_pointers(known, affine), ctx.kind)
        return output, slope, *(affine if known is not None else (None, None)), None, None, None


def _is_depthwise(module: nn.Conv2d) -> bool:
    side = module.kernel_size[0]
    return (
        module.groups == module.in_channels == module.out_channels > 1
        and module.kernel_size in ((3, 3), (5, 5))
        and module.stride in ((1, 1), (2, 2))
        and module.padding == (side // 2, side // 2)
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and module.bias is None
    )


def _end(module: nn.Module, place: int) -> nn.Module:
    """Return the first or last step of nested blocks."""
    while isinstance(module, nn.Sequential):
        steps = [step for step in module if not isinstance(step, nn.Identity)]
        if not steps:
            break
        module = steps[place]
    return module


def _call(function: Any, *given: Any) -> None:
    if function(*given, torch.get_num_threads()):
        raise MemoryError("no memory is left for the sums of a layer: free some, or take a smaller `batch_size`")


def _pointers(*tensors: Tensor | None) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]


def _rows(images: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    channels = images.shape[1]
    return ctypes.c_int64(images.numel() // channels), ctypes.c_int64(channels)


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def _shares_threads(loaded: ctypes.CDLL) -> bool:
    """Say whether the compiled code runs in torch's threads: it then sees how many torch is told to use."""
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        return loaded.threads() == before + 1
    finally:
        torch.set_num_threads(before)
