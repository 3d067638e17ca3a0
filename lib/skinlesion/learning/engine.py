"""One step of training on one device: as fast as the device goes, and the same bits every time."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm

from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.learning import augmentation, batches, distributed, kernels, losses, models, perturbation
from skinlesion.parameters import Parameters

AUXILIARY = 0.4
"""Weight of a second head's loss, as torchvision's inception_v3 was trained."""

MIX = augmentation.NAMES.index("mix")


class TrainingError(StudyError):
    """Training cannot go on; the message says where it stopped and what to do."""


def choose_device(parameters: Parameters) -> torch.device:
    """Return the device the parameters name; ``auto`` is CUDA where there is one, else the CPU.

    Raises
    ------
    TrainingError
        If the device named is not there.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = parameters.device
    if name == "auto":
        name = "cuda" if available["cuda"] else "cpu"
    if not available[name]:
        raise TrainingError(f"this machine has no {name} device: set `device: auto`")
    return torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def choose_precision(parameters: Parameters, device: torch.device) -> torch.dtype:
    """Return the type of the forward pass; ``auto`` is bfloat16 where the hardware multiplies it natively."""
    if parameters.precision != "auto":
        return torch.bfloat16 if parameters.precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        native = device.type == "cpu" and probe is not None and probe()
    return torch.bfloat16 if native else torch.float32


def learning_rate(parameters: Parameters, *, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one step, counted from zero over the whole run.

    It rises linearly over the warm-up epochs; then it is constant, or falls to zero along half a cosine
    (Loshchilov & Hutter, "SGDR", 2017, without restarts).
    """
    warm_up = parameters.warmup_epochs * steps_per_epoch
    if step < warm_up:
        return parameters.learning_rate * (step + 1) / math.ceil(warm_up)
    if parameters.schedule == "constant":
        return parameters.learning_rate
    done = (step - warm_up) / (parameters.epochs * steps_per_epoch - warm_up)
    return parameters.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


class Engine:
    """A network, its optimiser and its data on one device, and one step of training.

    Parameters
    ----------
    store
        uint8 of shape (N, H, W, 3).
    labels
        int64 of shape (N,), places in :data:`skinlesion.data.dataset.DX`.
    train_rows
        int64 rows of `store`.
    teachers
        Networks whose mean probabilities of each view are learnt as well, with the share ``taught`` of the loss.
        Source: G. Hinton et al., "Distilling the Knowledge in a Neural Network" (2015); of the same view, as L. Beyer
        et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022.
    """

    def __init__(
        self,
        store: np.ndarray,
        labels: np.ndarray,
        *,
        train_rows: np.ndarray,
        parameters: Parameters,
        device: torch.device,
        teachers: Sequence[nn.Module] = (),
    ) -> None:
        self.parameters = parameters
        self.device = device
        self.precision = choose_precision(parameters, device)
        self.labels, self.rows = labels, train_rows
        self.target = torch.tensor(labels, device=device)
        self.source = batches.Source(store, device)
        model = models.build(
            parameters.backbone,
            weights=parameters.weights,
            classes=len(DX),
            seed=parameters.seed,
            side=parameters.image_size,
        )
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.suited = device.type == "cpu" and not parameters.compile and not distributed.active()
        if self.suited:
            kernels.suit(self.model)
        self.network: Callable[[Tensor], Any] = distributed.wrap(self.model, device)
        if parameters.compile:
            self.network = torch.compile(self.network, options={"deterministic": parameters.deterministic})
        self.averaged = copy.deepcopy(self.model).requires_grad_(False) if parameters.ema_decay else None
        self.weights = None
        if parameters.class_weighted_loss:
            self.weights = losses.class_weights(labels[train_rows], len(DX)).to(device)
        self.priors = losses.log_priors(labels[train_rows], len(DX)).to(device) * parameters.logit_adjustment
        self.mixing = losses.mixing(parameters.mixup).to(device) if parameters.mixup else None
        self.side: int | None = None
        self.teachers = [kernels.fold(each).requires_grad_(False).to(device) for each in teachers]
        if perturbation.on(parameters) and distributed.active():
            raise TrainingError("noise would differ between processes: train with one, or without perturbation")
        self.rate = torch.tensor(parameters.learning_rate, device=device)
        self.optimiser = self._optimiser()

    def _optimiser(self) -> torch.optim.Optimizer:
        """Return Adam, or with weight decay AdamW, which spares what is no matrix: biases and batch norm."""
        options: dict[str, Any] = {"lr": self.rate, "fused": True}
        if not self.parameters.weight_decay:
            return torch.optim.Adam(self.model.parameters(), **options)
        groups: list[dict[str, Any]] = [
            {"params": [each for each in self.model.parameters() if each.ndim > 1]},
            {"params": [each for each in self.model.parameters() if each.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, weight_decay=self.parameters.weight_decay, **options)

    @property
    def scored(self) -> nn.Module:
        """The network that validation scores: the averaged one if there is one."""
        return self.model if self.averaged is None else self.averaged

    def draw(self, epoch: int) -> tuple[batches.Epoch, list[slice]]:
        """Return the order and the views of one epoch, counted from zero, and its batches.

        An epoch is a pass over the training images; with ``epoch_steps`` it is so many batches, wherever in a pass they
        begin and however many passes they take, so that studies with more or fewer images train for as many steps.
        """
        steps = self.parameters.epoch_steps
        if steps is None:
            return self._pass(epoch)
        each = len(self._pass(0)[1])
        if not each:
            return self._pass(0)
        first, skipped = divmod(epoch * steps, each)
        drawn, parts = zip(*(self._pass(first + k) for k in range(-(-(skipped + steps) // each))), strict=True)
        ends = itertools.accumulate((len(one.rows) for one in drawn), initial=0)
        moved = [
            slice(part.start + end, part.stop + end) for end, some in zip(ends, parts, strict=False) for part in some
        ]
        return batches.joined(drawn), moved[skipped : skipped + steps]

    def _pass(self, number: int) -> tuple[batches.Epoch, list[slice]]:
        """Return one pass over the training images, counted from zero."""
        chosen = self.parameters
        drawn = batches.draw_epoch(
            self.rows, self.labels, seed=chosen.seed, epoch=number, weighted=chosen.weighted_sampling
        )
        return drawn, drawn.batches(chosen.batch_size, least=max(2, distributed.world_size()))

    def run(self, drawn: batches.Epoch, parts: list[slice], *, epoch: int, first: int = 0) -> Iterator[Tensor]:
        """Train on the batches of an epoch from number `first` on; yield loss and hits of each step."""
        self.model.train()
        self.side = self.parameters.small_size if epoch < self.parameters.small_epochs else None
        if self.parameters.shrinkage and epoch and not first:
            self._shrink(epoch)
        mine = slice(distributed.rank(), None, distributed.world_size())
        shares = [drawn.rows[part][mine] for part in parts]
        uniform = drawn.uniform.to(self.device)
        target = self.target[drawn.rows.to(self.device)]
        with contextlib.closing(self.source.batches(shares[first:])) as source:
            for number, pixels in enumerate(source, first):
                step, part = epoch * len(parts) + number, parts[number]
                self.rate.fill_(learning_rate(self.parameters, step=step, steps_per_epoch=len(parts)))
                yield self.step(pixels, uniform[part][mine], target[part][mine], part.stop - part.start, step)

    def step(self, pixels: Tensor, uniform: Tensor, target: Tensor, images: int, number: int) -> Tensor:
        """Train on one batch; return its mean loss and its hits, float32 of shape (2,), on the device.

        Parameters
        ----------
        pixels
            uint8 of shape (B, H, W, 3).
        uniform
            float32 of shape (B, draws), rows of :func:`augmentation.draw`.
        target
            int64 of shape (B,).
        images
            In the whole batch, of which this process may have a share.
        number
            Of the step in the whole run: with the seed it decides what dropout drops.
        """
        torch.manual_seed(_seed(self.parameters.seed, number, distributed.rank()))
        images_in = augmentation.to_float(pixels)
        if self.side is not None:
            images_in = functional.interpolate(images_in, size=(self.side, self.side), mode="bilinear", antialias=True)
        views = augmentation.normalise(augmentation.augment(images_in, uniform, self.parameters))
        share = None
        if self.mixing is not None:
            share = self.mixing[(uniform[:, MIX].to(self.device) * len(self.mixing)).long()]
            mixed = torch.lerp(views.roll(1, 0), views, share.view(-1, 1, 1, 1))
            views = mixed.contiguous(memory_format=torch.channels_last)
        chosen, weights = self.parameters, list(self.model.parameters())
        before = perturbation.disturb(weights, chosen.weight_noise) if chosen.weight_noise else None
        outcome = self._descend(views, target, share, images)
        if chosen.sharpness:
            before = perturbation.climb(weights, chosen.sharpness)
            self._descend(views, target, share, images)
        if before is not None:
            perturbation.restore(weights, before)
        if chosen.gradient_noise or chosen.adaptive_gradient_noise:
            perturbation.roughen(weights, chosen)
        self.optimiser.step()
        self._average()
        return distributed.total(outcome)

    def _descend(self, views: Tensor, target: Tensor, share: Tensor | None, images: int) -> Tensor:
        """Leave the gradients of one batch with its weights; return its mean loss and its hits.

        Parameters
        ----------
        share
            Of each image in its mixture with the one before it, float32 of shape (B,); None where none are mixed.
        """
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == torch.bfloat16):
            heads = self.network(views)
            told = [torch.softmax(teacher(views).float(), dim=1) for teacher in self.teachers]
        heads = heads if isinstance(heads, tuple) else (heads,)  # inception's and googlenet's have several
        taught = torch.stack(told).mean(0) if told else None
        main, *others = (self._taught_loss(head, target, share, taught) for head in heads if head is not None)
        total = (main + AUXILIARY * sum(others)).sum() / images
        self.optimiser.zero_grad(set_to_none=True)
        (total * distributed.world_size()).backward()
        hits = (heads[0].detach().argmax(1) == target).sum()
        return torch.stack([main.detach().sum() / images, hits.float()])

    def _taught_loss(self, logits: Tensor, target: Tensor, share: Tensor | None, taught: Tensor | None) -> Tensor:
        own = self._mixed_loss(logits, target, share)
        if taught is None:
            return own
        return torch.lerp(
            own, functional.cross_entropy(logits.float(), taught, reduction="none"), self.parameters.taught
        )

    def _mixed_loss(self, logits: Tensor, target: Tensor, share: Tensor | None) -> Tensor:
        if self.parameters.logit_adjustment:
            logits = logits.float() + self.priors
        if share is None:
            return self._loss(logits, target)
        return torch.lerp(self._loss(logits, target.roll(1, 0)), self._loss(logits, target), share)

    def _shrink(self, epoch: int) -> None:
        chosen = self.parameters
        seed = _seed(chosen.seed, epoch) % 2**31
        fresh = models.build(chosen.backbone, weights="none", classes=len(DX), seed=seed, side=chosen.image_size)
        perturbation.shrink(list(self.model.parameters()), list(fresh.parameters()), chosen.shrinkage)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return losses.per_image(
            logits,
            target,
            weights=self.weights,
            focal_gamma=self.parameters.focal_gamma,
            label_smoothing=self.parameters.label_smoothing,
        )

    def _average(self) -> None:
        """Move the averaged weights towards the new ones; batch norm's statistics are taken as they are."""
        if self.averaged is not None:
            average = get_ema_multi_avg_fn(self.parameters.ema_decay)
            average(list(self.averaged.parameters()), list(self.model.parameters()), None)
            for into, buffer in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                into.copy_(buffer)

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on after the last step."""
        averaged = None if self.averaged is None else self.averaged.state_dict()
        return {"model": self.model.state_dict(), "averaged": averaged, "optimiser": self.optimiser.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.model.load_state_dict(state["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate

    def describe(self) -> dict[str, Any]:
        """Say what was on."""
        return {
            "deterministic": self.parameters.deterministic,
            "compile": self.parameters.compile,
            "layers": kernels.describe(self.precision) if self.suited else "torch",
            "processes": distributed.world_size(),
        }


@torch.no_grad()
def logits(model: nn.Module, source: batches.Source, rows: np.ndarray, *, views: int = 1) -> Tensor:
    """Return the logits of some images, unaugmented and in float32: shape (len(rows), classes), on the CPU.

    With 8 `views` the logarithms of the mean probabilities over the eight symmetries of a square.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    was_training = model.training
    scorer = kernels.fold(model.eval()) if on_cpu else model
    parts = torch.from_numpy(rows).split(32 if on_cpu else 256)  # more leaves a CPU's cache
    scored = [
        _over_views(scorer, augmentation.normalise(augmentation.to_float(pixels)), views)
        for pixels in tqdm(source.batches(list(parts)), total=len(parts), desc="score", unit="batch", leave=False)
    ]
    model.train(was_training)
    return torch.cat(scored).cpu()


def _over_views(scorer: nn.Module, images: Tensor, views: int) -> Tensor:
    if views == 1:
        return scorer(images).float()
    turned = [torch.rot90(images, quarter, (2, 3)) for quarter in range(4)]
    symmetric = [view.contiguous(memory_format=torch.channels_last) for each in turned for view in (each, each.flip(3))]
    return torch.stack([torch.softmax(scorer(view).float(), dim=1) for view in symmetric]).mean(0).log()


@contextlib.contextmanager
def determinism(on: bool) -> Iterator[None]:
    """Have torch use algorithms that give the same bits each time, or whatever is fastest."""
    debug: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    fill, benchmark = debug.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    try:
        torch.use_deterministic_algorithms(on)
        debug.fill_uninitialized_memory = False  # finds faults in code, and costs a pass
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = on, not on
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1], benchmark
        debug.fill_uninitialized_memory = fill


def _seed(*numbers: int) -> int:
    """Return a seed for a torch generator, well mixed from some numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
