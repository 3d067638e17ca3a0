"""Images of one lesion that stand under different lesion ids: found by what they show, and merged."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from skinlesion.data import images
from skinlesion.data.dataset import LABELS, Dataset, content_sha256
from skinlesion.files import kept_csv

PUBLISHED = (
    ("ISIC_0033421", "ISIC_0033481", "duplicate"),
    ("ISIC_0032634", "ISIC_0033556", "duplicate"),
    ("ISIC_0029152", "ISIC_0033173", "duplicate"),
    ("ISIC_0027027", "ISIC_0029036", "duplicate"),
    ("ISIC_0027820", "ISIC_0028209", "duplicate"),
    ("ISIC_0027689", "ISIC_0032647", "duplicate"),
    ("ISIC_0024879", "ISIC_0030906", "duplicate"),
    ("ISIC_0033391", "ISIC_0034186", "duplicate"),
    ("ISIC_0025226", "ISIC_0030074", "duplicate"),
    ("ISIC_0025664", "ISIC_0026087", "duplicate"),
    ("ISIC_0024736", "ISIC_0029748", "duplicate"),
    ("ISIC_0024770", "ISIC_0027811", "duplicate"),
    ("ISIC_0027162", "ISIC_0029061", "duplicate"),
    ("ISIC_0024602", "ISIC_0032283", "duplicate"),
    ("ISIC_0024629", "ISIC_0029625", "duplicate"),
    ("ISIC_0030000", "ISIC_0031392", "duplicate"),
    ("ISIC_0024437", "ISIC_0031299", "duplicate"),
    ("ISIC_0033374", "ISIC_0033417", "duplicate"),
    ("ISIC_0025141", "ISIC_0025323", "same lesion at another time"),
    ("ISIC_0025947", "ISIC_0029023", "same lesion at another time"),
)
"""Pairs of images of one lesion under different lesion ids, and what they are: K. Abhishek, A. Jain,
G. Hamarneh, "Investigating the Quality of DermaMNIST and Fitzpatrick17k", Sci. Data 12:196 (2025)."""

VERSION = 1  # raise it whenever the same images would give other pairs
SIDE = 224
"""Images are compared at this height and width in pixels, the size that the thresholds were set at."""

KEYPOINTS = 120  # per image, the strongest
WORDS = 4096  # visual words; an image has at most as many as keypoints
NEAREST = 12  # candidates by each descriptor and image
RATIO = 0.8  # D. Lowe's test: the best match must be this much nearer than the second
INLIERS = 11
SIMILARITY = 0.5
OVERLAP = 0.5  # of the frame, at least
# Judged by eye on HAM10000: of the pairs with 11 keypoints or more every one shows the same skin (below 0.6 at times
# with another lesion in its middle, which leaks all the same); from 10 keypoints downward most do not.


def find(dataset: Dataset, *, cache: Path) -> pd.DataFrame:
    """Return the pairs that :func:`search` finds in a data set; they are searched for once and kept in `cache`."""
    labels = content_sha256(dataset.metadata, LABELS)
    path = cache / f"{dataset.key[:16]}-{labels[:8]}-duplicates-{VERSION}-{images.DECODER}.csv"
    text = {f"{name}_{end}": "str" for name in ("image", "lesion", "dx") for end in ("a", "b")}
    types = {**text, "similarity": "float64", "inliers": "int64", "overlap": "float64"}

    def make() -> pd.DataFrame:
        return search(images.open_store(dataset, size=SIDE, cache=cache), dataset.metadata)

    return kept_csv(path, make, types=types)


def search(store: np.ndarray, metadata: pd.DataFrame) -> pd.DataFrame:
    """Find pairs of images that show one lesion, under different lesion ids, through crop, zoom, turn and flip.

    Candidates are the nearest neighbours by four descriptors: visual words (J. Sivic, A. Zisserman, "Video
    Google", ICCV 2003), small thumbnails under all flips and quarter turns with and without their brightness,
    and colour by distance from the centre. A candidate counts if SIFT keypoints (D. Lowe, IJCV 60, 2004) agree
    on an affine map, found by RANSAC, and the images correlate where that map makes them overlap. Affine,
    because in a squashed frame a turn is no rotation. The same store gives the same pairs.

    Parameters
    ----------
    store
        uint8 of shape (N, 224, 224, 3), rows as in `metadata`.
    metadata
        image_id, lesion_id and dx are used.

    Returns
    -------
    pandas.DataFrame
        image_a, image_b, lesion_a, lesion_b, dx_a, dx_b, similarity (correlation of the registered greys),
        inliers (keypoints that agree) and overlap (share of the frame), most similar first.

    Raises
    ------
    ValueError
        If the store has another size.
    """
    if store.shape[1:] != (SIDE, SIDE, 3):
        raise ValueError(f"the store holds {store.shape[1]}×{store.shape[2]} images: open it with size={SIDE}")
    keypoints = list(_mapped(lambda row: _keypoints(store[row]), range(len(store)), "keypoints"))
    pairs = sorted(_candidates(store, keypoints, metadata.lesion_id.to_numpy()))
    blocks = [pairs[start : start + 500] for start in range(0, len(pairs), 500)]
    with threadpool_limits(1):  # threads inside our threads would wait for each other
        compared = list(_mapped(lambda block: [_compare(store, keypoints, *pair) for pair in block], blocks, "pairs"))
    found = pd.DataFrame(
        [row for block in compared for row in block if row is not None],
        columns=["a", "b", "similarity", "inliers", "overlap"],
    ).sort_values(["similarity", "a", "b"], ascending=[False, True, True], ignore_index=True)
    named = {
        f"{name}_{end}": metadata[column].to_numpy()[found[end].to_numpy(dtype=int)]
        for name, column in (("image", "image_id"), ("lesion", "lesion_id"), ("dx", "dx"))
        for end in ("a", "b")
    }
    return pd.DataFrame({**named, **{name: found[name] for name in ("similarity", "inliers", "overlap")}})


def published(metadata: pd.DataFrame) -> pd.DataFrame:
    """Return the :data:`PUBLISHED` pairs of which both images are in the table: image_a, image_b, kind."""
    pairs = pd.DataFrame(PUBLISHED, columns=["image_a", "image_b", "kind"])
    return pairs[pairs.image_a.isin(metadata.image_id) & pairs.image_b.isin(metadata.image_id)]


def recall(pairs: pd.DataFrame, metadata: pd.DataFrame) -> pd.DataFrame:
    """Say of each published pair in the data whether it is among `pairs`: image_a, image_b, kind, found, similarity."""
    table = published(metadata).merge(
        pairs[["image_a", "image_b", "similarity"]], on=["image_a", "image_b"], how="left"
    )
    table.insert(3, "found", table.similarity.notna())
    return table


def groups(metadata: pd.DataFrame, *pairs: pd.DataFrame) -> pd.Series:
    """Merge the lesions that `pairs` connect.

    Parameters
    ----------
    metadata
        image_id and lesion_id are used.
    pairs
        Tables with image_a and image_b, such as those of :func:`find` and :func:`published`.

    Returns
    -------
    pandas.Series
        For each row of `metadata` the lesion group: the smallest of the connected lesion ids.
    """
    lesions, codes = np.unique(metadata.lesion_id.to_numpy(dtype=str), return_inverse=True)
    lesion_of = dict(zip(metadata.image_id, codes, strict=True))
    ends = [(lesion_of[a], lesion_of[b]) for table in pairs for a, b in table[["image_a", "image_b"]].to_numpy()]
    first, second = np.array(ends, dtype=int).reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(len(lesions), len(lesions)))
    _, component = connected_components(graph, directed=False)
    _, smallest = np.unique(component, return_index=True)  # lesions are sorted
    return pd.Series(lesions[smallest][component][codes], index=metadata.index, name="lesion_group")


def _mapped(function: Callable[[Any], Any], items: Sequence[Any], title: str) -> Iterator[Any]:
    """Apply `function` on all cores (OpenCV and NumPy release the interpreter's lock), in order, with a bar."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from tqdm(pool.map(function, items), total=len(items), desc=title)


_local = threading.local()  # a detector must not be shared between threads


def _keypoints(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (K, 2) and unit descriptors (K, 128) of an image's strongest keypoints, float32."""
    if not hasattr(_local, "sift"):
        _local.sift = cv2.SIFT_create(nfeatures=KEYPOINTS, contrastThreshold=0.02)  # type: ignore[attr-defined]
        _local.equalise = cv2.createCLAHE(2.0, (4, 4))
    grey = _local.equalise.apply(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    points, descriptors = _local.sift.detectAndCompute(grey, None)
    if descriptors is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    # Root of the L1-normalised histogram: R. Arandjelović, A. Zisserman, CVPR 2012.
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9))
    return np.array([point.pt for point in points], np.float32), root.astype(np.float32)


def _mirrored(descriptors: np.ndarray) -> np.ndarray:
    """Return what SIFT would say of the mirror image: rows of cells swapped, directions reversed."""
    return descriptors.reshape(-1, 4, 4, 8)[:, ::-1][..., -np.arange(8) % 8].reshape(-1, 128)


def _candidates(store: np.ndarray, keypoints: list[Any], lesions: np.ndarray) -> set[tuple[int, int]]:
    small = np.stack([cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA) for image in store])
    lab = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2LAB) for image in small]).astype(np.float32)
    thumbnail = lab.reshape(-1, 16, 2, 16, 2, 3).mean((2, 4))
    centred = thumbnail - thumbnail.mean((1, 2), keepdims=True)
    centred /= np.maximum(np.sqrt((centred**2).mean((1, 2, 3), keepdims=True)), 1e-6)
    y, x = np.mgrid[:32, :32] - 15.5
    ring = np.digitize(np.hypot(x, y), [4, 7, 10, 13])
    rings = np.concatenate([f(lab[:, ring == k], axis=1) for k in range(5) for f in (np.mean, np.std)], axis=1)
    words = _words([descriptors for _, descriptors in keypoints])
    kinds = [(thumbnail, _turns(thumbnail)), (centred, _turns(centred)), (rings, [rings]), (words, [words])]
    pairs: set[tuple[int, int]] = set()
    for asked, answers in tqdm(kinds, desc="candidates", unit="descriptor"):
        pairs |= _neighbours(asked, answers, lesions)
    return pairs


def _turns(thumbnail: np.ndarray) -> list[np.ndarray]:
    turned = [np.rot90(thumbnail, quarter, (1, 2)) for quarter in range(4)]
    return [*turned, *(image[:, :, ::-1] for image in turned)]


def _words(descriptors: list[np.ndarray]) -> np.ndarray:
    """Return how often each visual word occurs, weighted by its rarity: float32 (N, WORDS), rows of length one."""
    everything = np.concatenate(descriptors)
    vocabulary = everything[np.random.default_rng(0).permutation(len(everything))[:WORDS]]
    blocks = np.array_split(everything, len(descriptors) // 100 + 1)
    word = np.concatenate([(block @ vocabulary.T).argmax(1) for block in blocks])
    owner = np.repeat(np.arange(len(descriptors)), [len(own) for own in descriptors])
    counts = np.zeros((len(descriptors), len(vocabulary)), np.float32)
    np.add.at(counts, (owner, word), 1)
    rarity = np.log(len(counts) / (1 + (counts > 0).sum(0))).clip(0)
    weighted = (np.sqrt(counts) * rarity).astype(np.float32)
    return weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-6)


def _neighbours(asked: np.ndarray, answers: list[np.ndarray], lesions: np.ndarray) -> set[tuple[int, int]]:
    """Return the pairs of every image with its nearest ones of other lesions, the smaller row first."""
    asked = asked.reshape(len(asked), -1)
    flat = [answer.reshape(len(asked), -1) for answer in answers]
    lengths = (asked**2).sum(1)
    count = min(NEAREST, len(asked) - 1)
    pairs = set()
    for rows in np.array_split(np.arange(len(asked)), len(asked) // 500 + 1):
        nearness = np.max([asked[rows] @ answer.T for answer in flat], axis=0) - lengths / 2
        nearness[lesions[rows][:, None] == lesions] = -np.inf
        best = np.argpartition(-nearness, count, axis=1)[:, :count]
        for row, others in zip(rows, best, strict=True):
            pairs |= {(min(row, other), max(row, other)) for other in others if lesions[row] != lesions[other]}
    return pairs


def _compare(store: np.ndarray, keypoints: list[Any], a: int, b: int) -> tuple[int, int, float, int, float] | None:
    """Register image a on b, or on b's mirror image; return the pair if they agree."""
    (points_a, descriptors_a), (points_b, descriptors_b) = keypoints[a], keypoints[b]
    if min(len(points_a), len(points_b)) < INLIERS:
        return None
    for mirror in (False, True):
        nearness = descriptors_a @ (_mirrored(descriptors_b) if mirror else descriptors_b).T
        second, first = np.partition(nearness, -2, axis=1)[:, -2:].T
        # Of unit vectors, 2 - 2 cos is the squared distance.
        matched = np.flatnonzero(1 - first < RATIO**2 * (1 - second))
        if len(matched) < INLIERS:
            continue
        target = points_b[nearness[matched].argmax(1)]
        if mirror:
            target = target * (-1, 1) + (SIDE - 1, 0)
        cv2.setRNGSeed(0)
        warp, agree = cv2.estimateAffine2D(points_a[matched], target.astype(np.float32), ransacReprojThreshold=4)
        if warp is None or (inliers := int(agree.sum())) < INLIERS:
            continue
        similarity, overlap = _correlate(store[a], store[b][:, ::-1] if mirror else store[b], warp)
        if similarity >= SIMILARITY and overlap >= OVERLAP:
            return a, b, similarity, inliers, overlap
    return None


def _correlate(image: np.ndarray, target: np.ndarray, warp: np.ndarray) -> tuple[float, float]:
    """Return the correlation of the greys where the warped image lies on the target, and the share it covers."""
    inside = cv2.warpAffine(np.ones((SIDE, SIDE), np.uint8), warp, (SIDE, SIDE)) > 0
    overlap = float(inside.mean())
    if overlap < OVERLAP:
        return 0.0, overlap
    moved = cv2.warpAffine(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), warp, (SIDE, SIDE))[inside]
    fixed = cv2.cvtColor(np.ascontiguousarray(target), cv2.COLOR_RGB2GRAY)[inside]
    if moved.std() == 0 or fixed.std() == 0:
        return 0.0, overlap
    return float(np.corrcoef(moved, fixed)[0, 1]), overlap
