import io

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skinlesion.data import dataset, duplicates, images


def turned(image, degrees, zoom=1.0):
    matrix = cv2.getRotationMatrix2D((111.5, 111.5), degrees, zoom)
    return cv2.warpAffine(image, matrix, (224, 224), borderMode=cv2.BORDER_REFLECT)


def compressed(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=60)
    return np.asarray(Image.open(buffer))


CHANGES = {
    "cropped": lambda image: cv2.resize(image[16:208, 16:208], (224, 224)),
    "zoomed out": lambda image: turned(image, 0, 0.85),
    "turned by 20°": lambda image: turned(image, 20),
    "turned by 90°": lambda image: np.rot90(image),
    "mirrored": lambda image: image[:, ::-1],
    "compressed": compressed,
    "brighter": lambda image: np.uint8(np.clip(image * 1.1 + 10, 0, 255)),
}


@pytest.fixture(scope="module")
def planted(opened, tmp_path_factory):
    """The sample with changed copies of some images under other lesion ids, and which are which."""
    metadata = opened.metadata
    store = images.open_store(opened, size=duplicates.SIDE, cache=tmp_path_factory.mktemp("store"))
    # Of lesions with hairs, nets or dots: a smooth blob has no keypoints.
    detail = [len(duplicates._keypoints(image)[0]) for image in store]
    chosen = np.argsort(detail)[::-1]
    chosen = metadata.iloc[chosen].drop_duplicates("lesion_id").index[: len(CHANGES)].to_numpy()
    copies = [np.ascontiguousarray(change(store[row])) for row, change in zip(chosen, CHANGES.values(), strict=True)]
    more = metadata.iloc[chosen].assign(
        image_id=[f"SYN_{9_000_000 + k}" for k in range(len(chosen))],
        lesion_id=[f"SYN_{9_000_000 + k}" for k in range(len(chosen))],
    )
    return np.concatenate([store, copies]), pd.concat([metadata, more], ignore_index=True), chosen


def test_changed_copies_under_other_lesion_ids_are_found(planted):
    store, metadata, chosen = planted
    pairs = duplicates.search(store, metadata)
    found = set(zip(pairs.image_a, pairs.image_b, strict=True))
    originals = metadata.image_id[chosen]
    missed = [
        change
        for k, (change, original) in enumerate(zip(CHANGES, originals, strict=True))
        if (original, f"SYN_{9_000_000 + k}") not in found
    ]
    assert not missed
    assert pairs.similarity.is_monotonic_decreasing
    assert pairs.similarity.between(duplicates.SIMILARITY, 1).all()
    assert (pairs.lesion_a != pairs.lesion_b).all()
    assert pairs.equals(duplicates.search(store, metadata))


def test_unrelated_images_are_no_pair(opened, planted):
    store = planted[0][: len(opened.metadata)]
    once = opened.metadata.drop_duplicates("lesion_id").index.to_numpy()
    assert duplicates.search(store[once], opened.metadata.iloc[once].reset_index(drop=True)).empty


def test_the_search_is_done_once(opened, tmp_path, monkeypatch):
    first = duplicates.find(opened, cache=tmp_path)
    monkeypatch.setattr(duplicates, "search", None)
    assert duplicates.find(opened, cache=tmp_path).equals(first)


def test_pairs_that_were_kept_and_cut_are_searched_for_again(opened, tmp_path, monkeypatch):
    pair = {f"{name}_{end}": name for name in ("image", "lesion", "dx") for end in ("a", "b")}
    pair |= {"similarity": 0.5, "inliers": 12, "overlap": 1.0}
    for count in (2, 0):  # a table without a row has the same types
        table = pd.DataFrame([pair] * count, columns=list(pair))
        monkeypatch.setattr(duplicates, "search", lambda store, metadata, table=table: table)
        first = duplicates.find(opened, cache=tmp_path / str(count))
        assert [str(kind) for kind in first.dtypes[-3:]] == ["float64", "int64", "float64"]
        [path] = (tmp_path / str(count)).glob("*-duplicates-*.csv")
        path.write_bytes(path.read_bytes()[:70])
        assert duplicates.find(opened, cache=tmp_path / str(count)).equals(first)


def test_a_store_of_another_size_is_refused(opened):
    with pytest.raises(ValueError, match="the store holds 32×32 images: open it with size=224"):
        duplicates.search(np.zeros((2, 32, 32, 3), np.uint8), opened.metadata)


def test_groups_are_transitive_and_leave_the_others_alone():
    metadata = pd.DataFrame({"image_id": list("abcdef"), "lesion_id": ["L3", "L1", "L2", "L4", "L4", "L5"]})
    pairs = pd.DataFrame({"image_a": ["a", "b"], "image_b": ["b", "c"]})
    assert duplicates.groups(metadata, pairs).tolist() == ["L1", "L1", "L1", "L4", "L4", "L5"]
    assert duplicates.groups(metadata, pairs[:0]).tolist() == metadata.lesion_id.tolist()
    one_by_one = duplicates.groups(metadata, pairs[:1], pairs[1:])
    assert one_by_one.tolist() == duplicates.groups(metadata, pairs).tolist()


def test_the_published_pairs_are_well_formed_and_recalled():
    assert len(duplicates.PUBLISHED) == 20
    assert sum(kind == "duplicate" for *_, kind in duplicates.PUBLISHED) == 18
    assert all(a < b and dataset.archives.IMAGE_ID.fullmatch(a) for a, b, _ in duplicates.PUBLISHED)
    a, b, _ = duplicates.PUBLISHED[0]
    metadata = pd.DataFrame({"image_id": [a, b, *duplicates.PUBLISHED[1][:2]]})
    pairs = pd.DataFrame({"image_a": [a], "image_b": [b], "similarity": [0.9]})
    assert duplicates.recall(pairs, metadata).found.tolist() == [True, False]
    assert duplicates.published(pd.DataFrame({"image_id": ["SYN_0000001"]})).empty
