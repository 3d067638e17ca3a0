import os
import subprocess
import sys

import pytest
import torch

from skinlesion import files
from skinlesion.learning import checkpoints, distributed, models

TOLERANCE = 1e-4
"""How far two processes may be from one, relatively: their losses, and the weights of the way they have gone.
Sums over images are taken in another order; measured after two steps: 3e-7 and 6e-5."""


def test_alone_nothing_is_shared():
    model = torch.nn.Linear(2, 2)
    assert not distributed.active()
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.wrap(model, torch.device("cpu")) is model
    values = torch.arange(3.0)
    assert torch.equal(distributed.total(values), values)
    assert torch.equal(distributed.gather(values, 3), values)


def test_batch_norm_of_one_process_is_torchs():
    plain = torch.nn.Sequential(torch.nn.BatchNorm2d(4))
    images = torch.rand(3, 4, 5, 5)
    wanted = plain(images)
    shared = distributed.share_statistics(torch.nn.Sequential(torch.nn.BatchNorm2d(4)))
    assert torch.equal(shared(images), wanted)
    assert list(shared.state_dict()) == list(plain.state_dict())


CHECK = """
import torch
from skinlesion.learning import distributed
distributed.start()
torch.manual_seed(0)
images, ends = 3 * torch.randn(7, 4, 5, 5) + 1, (0, 4, 7)  # shares of four and three
def run(layer, part):
    part = part.clone().requires_grad_()
    out = layer(part)
    (out * out.detach().cos()).sum().backward()
    return out.detach(), part.grad
plain = torch.nn.BatchNorm2d(4).double()
shared = distributed.share_statistics(torch.nn.Sequential(torch.nn.BatchNorm2d(4)))
k = distributed.rank()
mine = slice(ends[k], ends[k + 1])
wanted, gradient = run(plain, images.double())
given, own = run(shared, images[mine])
weight = distributed.total(shared[0].weight.grad.clone())
for a, b in ((given, wanted[mine]), (own, gradient[mine]), (weight, plain.weight.grad),
             (shared[0].running_mean, plain.running_mean), (shared[0].running_var, plain.running_var)):
    torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)
values = torch.arange(5.0)
assert torch.equal(distributed.gather(values[k::2], 5), values)
distributed.stop()
"""


def launch(*command, folder):
    """Start two processes on this machine's CPU, one thread each."""
    environment = {**os.environ, "PYTHONPATH": str(files.ROOT / "lib"), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command],
        env={**environment, "CUDA_VISIBLE_DEVICES": ""},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_batch_norm_of_two_processes_is_that_of_one_with_all_images(tmp_path):
    (tmp_path / "check.py").write_text(CHECK)
    launch("check.py", folder=tmp_path)


def test_two_processes_train_as_one_does_on_the_same_batches_of_a_split_that_one_of_them_draws(tiny, tmp_path):
    overrides = {"data", "synthetic_lesions", "image_size", "cache", "train_fraction", "validation_fraction"}
    chosen = tiny.model_dump(include=overrides | {"calibration_fraction", "test_fraction"})
    # No dropout, which each process draws for itself; few steps in float32, before rounding has grown.
    chosen |= {"precision": "float32", "backbone": "resnet18", "epochs": 1, "batch_size": 36, "learning_rate": 0.0001}
    states = {}
    for count in (1, 2):
        folder = tmp_path / f"{count}"
        flags = [flag for key, value in chosen.items() for flag in ("--set", f"{key}={value}")]
        command = ["-m", "skinlesion", "train", "--study", "demo", *flags, "--set", f"output={folder}"]
        if count == 2:
            printed = launch(*command, folder=tmp_path)
            assert printed.count("epoch   1/1") == 1  # one of them reports
            assert printed.count("there is no split yet") == 1
        else:
            environment = {**os.environ, "PYTHONPATH": str(files.ROOT / "lib"), "CUDA_VISIBLE_DEVICES": ""}
            subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True)
        states[count] = torch.load(
            folder / "demo" / "seed-0" / "checkpoint" / checkpoints.NAME, weights_only=True, map_location="cpu"
        )
        left = {path.name for path in (folder / "demo" / "seed-0").iterdir()}
        assert left == {"checkpoint", "duplicates.csv", "preprocessing.json", "split.csv"}
    one, two = states[1], states[2]
    for key in ("train_loss", "validation_loss"):
        assert two["history"][0][key] == pytest.approx(one["history"][0][key], rel=TOLERANCE)
    start = dict(models.build("resnet18", weights="none", classes=7, seed=0).named_parameters())
    gone = sum((one["model"][name] - start[name]).abs().sum() for name in start)
    apart = sum((one["model"][name] - two["model"][name]).abs().sum() for name in start)
    assert apart < TOLERANCE * gone
    assert set(one["model"]) == set(two["model"])
