import numpy as np
import pytest
import torch

from skinlesion.learning import batches

CPU = torch.device("cpu")


@pytest.fixture
def mapped(tmp_path):
    """A store as it lies on disk."""
    path = tmp_path / "store.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8))
    return np.load(path, mmap_mode="r")


def test_an_epoch_has_every_training_image_once_and_is_a_function_of_seed_and_epoch():
    rows, labels = np.arange(5, 35), np.arange(40) % 7
    first = batches.draw_epoch(rows, labels, seed=1, epoch=2)
    again = batches.draw_epoch(rows, labels, seed=1, epoch=2)
    other = batches.draw_epoch(rows, labels, seed=1, epoch=3)
    assert sorted(first.rows.tolist()) == rows.tolist()
    assert torch.equal(first.rows, again.rows)
    assert torch.equal(first.uniform, again.uniform)
    assert not torch.equal(first.rows, other.rows)


def test_an_images_draws_do_not_depend_on_which_other_images_are_trained_on():
    labels = np.arange(40) % 7
    few = batches.draw_epoch(np.arange(10), labels, seed=0, epoch=0)
    many = batches.draw_epoch(np.arange(30), labels, seed=0, epoch=0)
    for row, uniform in zip(few.rows.tolist(), few.uniform, strict=True):
        assert torch.equal(uniform, many.uniform[many.rows.tolist().index(row)])


def test_weighted_sampling_draws_every_class_as_often_and_never_the_same_view_twice():
    labels = np.repeat(np.arange(7), [3, 5, 11, 1, 11, 669, 14])
    drawn = batches.draw_epoch(np.arange(len(labels)), labels, seed=0, epoch=0, weighted=True)
    counts = np.bincount(labels[drawn.rows.numpy()], minlength=7)
    assert counts.sum() == len(labels)
    expected = len(labels) / 7
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()
    assert len(np.unique(drawn.uniform.numpy(), axis=0)) == len(labels)


def test_a_last_batch_too_small_for_batch_norm_is_left_out():
    epoch = batches.Epoch(torch.arange(33), torch.zeros(33, 10))
    assert [part.stop for part in epoch.batches(16)] == [16, 32]
    assert [part.stop for part in epoch.batches(31)] == [31, 33]


def test_a_source_gives_the_rows_that_were_asked_for(mapped):
    parts = [*torch.randperm(40).split(7), torch.tensor([3, 3, 1])]
    source = batches.Source(mapped, CPU)
    given = [batch.clone() for batch in source.batches(parts)]
    assert len(given) == len(parts)
    for batch, rows in zip(given, parts, strict=True):
        assert np.array_equal(batch.numpy(), mapped[rows.numpy()])
    assert list(source.batches([])) == []
