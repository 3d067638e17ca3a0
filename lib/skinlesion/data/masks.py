"""Where the lesion is in an image: the published segmentation masks, read in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import numpy as np
from PIL import Image

from skinlesion.data import archives

SUFFIX = "_segmentation"
INSIDE = 128
"""A mask's grey value from which on a pixel is of the lesion: resized masks have values in between."""


def available(folder: Path) -> bool:
    """Say whether `folder` has the archive of masks."""
    return bool(archives.find(folder, archives.MASKS))


def read(folder: Path, image_ids: Sequence[str], *, size: int) -> np.ndarray:
    """Return the masks of some images, squashed to a square as the images are.

    Source: P. Tschandl et al., "Human–computer collaboration for skin cancer recognition", Nat. Med. 26, 1229
    (2020).

    Returns
    -------
    numpy.ndarray
        bool of shape (N, size, size).

    Raises
    ------
    skinlesion.data.archives.DatasetError
        If the archive, or the mask of an image, is not there or cannot be decoded.
    """
    masks = np.empty((len(image_ids), size, size), dtype=bool)
    archive = next(iter(archives.find(folder, archives.MASKS)), folder / archives.MASKS)
    with archives.open_zip(archive) as opened, archives.open_container(archive) as open_member:
        paths = {name: PureWindowsPath(name) for name in opened.namelist()}
        names = {path.stem.removesuffix(SUFFIX): name for name, path in paths.items() if path.suffix.lower() == ".png"}
        for row, image_id in enumerate(image_ids):
            if image_id not in names:
                raise archives.DatasetError(f"{archives.MASKS} has no mask of image {image_id}")
            try:
                with archives.open_picture(open_member(names[image_id]), formats=("PNG",)) as image:
                    grey = image.convert("L").resize((size, size), Image.Resampling.BILINEAR)
            except archives.DatasetError as error:
                raise archives.DatasetError(f"the mask of image {image_id} cannot be decoded ({error})") from error
            masks[row] = np.asarray(grey) >= INSIDE
    return masks
