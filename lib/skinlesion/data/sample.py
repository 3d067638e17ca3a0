"""A small synthetic stand-in for HAM10000, in the layout of its Harvard Dataverse download.

A clone without any download can run the whole study on it. No real image went into it: lesions, skin and
table are drawn from a seeded generator, and the ids (``SYN_...``) say so wherever they turn up. The ways in
which the real data mislead are drawn on purpose: several photographs of one lesion, sources that look
different and hold different classes, gaps in the table, few lesions of the rare classes.
"""

import io
import json
import math
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from tqdm.auto import tqdm

__all__ = ["MARKER", "draw", "is_current"]

VERSION = 1  # raise it whenever the same arguments would draw something else
MARKER = "SYNTHETIC.json"
PARTS = ("HAM10000_images_part_1.zip", "HAM10000_images_part_2.zip")
TABLE = "HAM10000_metadata"
MASKS = "HAM10000_segmentations_lesion_tschandl.zip"
SMALLEST = 21  # three lesions a class: one for each part of a split

Field = NDArray[np.float32]
Weights = dict[str, float]
Key = TypeVar("Key")

WIDTH, HEIGHT = 160, 120  # the original's 4:3
PLATE = 256  # a photograph turned, shifted and zoomed out at worst still lies inside its plate


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How the lesions of one class tend to be: the means and odds that each lesion is drawn from."""

    share: float  # of all lesions
    photos: tuple[float, ...]  # odds of 1, 2, 3, 4 photographs
    age: tuple[float, float]  # mean and standard deviation, years
    female: float
    sources: tuple[float, ...]  # odds, in the order of SOURCES
    sites: str  # a key of SITES
    proof: Weights  # odds of dx_type, for a lesion that was not followed up
    radius: float  # pixels, as are all lengths
    melanin: float  # optical density, as is blood
    blood: float
    ragged: float  # how far the border strays from an ellipse, relative to the radius
    edge: float  # width of the border's fade
    patchy: float  # unevenness of the pigment
    textures: Weights  # the chance of each


KINDS = {
    "bkl": Kind(
        share=0.14, photos=(0.61, 0.30, 0.08, 0.01), age=(64, 13), female=0.43, sites="sun",
        sources=(0.45, 0.43, 0.11, 0.01), proof={"histo": 0.70, "consensus": 0.24, "confocal": 0.06},
        radius=34, melanin=0.45, blood=0.05, ragged=0.13, edge=4, patchy=0.25,
        textures={"milia": 0.85, "clods": 0.40, "network": 0.15, "scale": 0.25, "veil": 0.08},
    ),
    "nv": Kind(
        share=0.44, photos=(0.80, 0.15, 0.05), age=(46, 14), female=0.49, sites="body",
        sources=(0.13, 0.30, 0.51, 0.06), proof={"histo": 0.82, "consensus": 0.18},
        radius=25, melanin=0.95, blood=0.12, ragged=0.07, edge=8, patchy=0.14,
        textures={"network": 0.60, "globules": 0.45, "streaks": 0.06, "milia": 0.06},
    ),
    "df": Kind(
        share=0.05, photos=(0.54, 0.35, 0.11), age=(53, 12), female=0.46, sites="limbs",
        sources=(0.27, 0.44, 0.26, 0.03), proof={"histo": 0.48, "consensus": 0.52},
        radius=30, melanin=0.60, blood=0.22, ragged=0.06, edge=12, patchy=0.12,
        textures={"pale": 0.96, "network": 0.35},
    ),
    "mel": Kind(
        share=0.14, photos=(0.38, 0.45, 0.16, 0.01), age=(61, 14), female=0.38, sites="body",
        sources=(0.31, 0.61, 0.02, 0.06), proof={"histo": 1.0},
        radius=38, melanin=1.35, blood=0.18, ragged=0.17, edge=6, patchy=0.45,
        textures={"veil": 0.7, "streaks": 0.6, "network": 0.4, "globules": 0.4, "clods": 0.4, "pale": 0.08},
    ),
    "vasc": Kind(
        share=0.05, photos=(0.65, 0.26, 0.08, 0.01), age=(51, 20), female=0.51, sites="body",
        sources=(0.03, 0.58, 0.37, 0.02), proof={"histo": 0.47, "consensus": 0.53},
        radius=25, melanin=0.10, blood=1.30, ragged=0.10, edge=4, patchy=0.2,
        textures={"lacunae": 0.9, "thrombus": 0.35},
    ),
    "bcc": Kind(
        share=0.10, photos=(0.54, 0.36, 0.10), age=(67, 12), female=0.38, sites="sun",
        sources=(0.57, 0.41, 0.01, 0.01), proof={"histo": 1.0},
        radius=28, melanin=0.12, blood=0.42, ragged=0.12, edge=7, patchy=0.25,
        textures={"vessels": 0.90, "clods": 0.3, "veil": 0.3, "scale": 0.1, "ulcer": 0.25},
    ),
    "akiec": Kind(
        share=0.08, photos=(0.66, 0.25, 0.08, 0.01), age=(66, 11), female=0.32, sites="sun",
        sources=(0.88, 0.12, 0.0, 0.0), proof={"histo": 1.0},
        radius=36, melanin=0.24, blood=0.34, ragged=0.18, edge=12, patchy=0.3,
        textures={"scale": 0.9, "dots": 0.65, "vessels": 0.1},
    ),
}  # fmt: skip

SITES: dict[str, Weights] = {
    "sun": {
        "face": 27, "back": 19, "upper extremity": 13, "lower extremity": 13, "chest": 8, "trunk": 5,
        "scalp": 5, "neck": 4, "abdomen": 3, "hand": 2, "ear": 1,
    },
    "body": {
        "back": 24, "lower extremity": 21, "trunk": 18, "abdomen": 12, "upper extremity": 11, "foot": 4,
        "chest": 3, "face": 3, "neck": 1.5, "ear": 1, "scalp": 0.8, "hand": 0.8, "genital": 0.7, "acral": 0.2,
    },
    "limbs": {"lower extremity": 70, "upper extremity": 22, "abdomen": 3, "back": 2, "foot": 2, "genital": 1},
}  # fmt: skip

# What stands for a missing value, and the share of lesions that lack one.
GAPS = {"age": (math.nan, 0.02), "sex": ("unknown", 0.02), "localization": ("unknown", 0.04)}


@dataclass(frozen=True)
class Source:
    """The look that one source gives to all its photographs."""

    tint: tuple[float, float, float]  # gain of red, green, blue
    contrast: float
    corners: float  # the chance that the dark rim of the lens is in the picture
    blur: float  # pixels


SOURCES = {
    "rosendahl": Source((1.02, 0.97, 0.93), 1.12, 0.10, 0.4),
    "vidir_modern": Source((0.99, 1.02, 1.04), 1.00, 0.25, 0.5),
    "vidir_molemax": Source((1.03, 0.90, 0.91), 0.92, 0.00, 0.8),
    "vienna_dias": Source((0.96, 0.95, 1.03), 0.85, 0.05, 1.0),
}

# Beer-Lambert: what one unit of each takes from red, green and blue light.
MELANIN = np.array([0.55, 0.90, 1.15], np.float32)
BLOOD = np.array([0.16, 1.10, 0.80], np.float32)
SKIN = np.array([0.90, 0.80, 0.76], np.float32)  # without either
WHITE = np.array([0.93, 0.87, 0.84], np.float32)
BLUE_GREY = np.array([0.40, 0.43, 0.52], np.float32)


def draw(folder: Path, *, lesions: int, seed: int) -> None:
    """Draw the synthetic sample into a folder, all of it or nothing.

    The sample is made beside ``folder`` and renamed at the end. An earlier sample there is replaced.
    On one machine the same arguments give the same bytes.

    Parameters
    ----------
    folder
        Where the sample shall lie. Its parents are made.
    lesions
        How many lesions to draw; each has about 1.45 photographs of 160x120 pixels.
    seed
        Not negative. Another seed is another sample.

    Raises
    ------
    ValueError
        If ``lesions`` is below 21 (three a class), or ``seed`` below 0.
    FileExistsError
        If ``folder`` exists and is not a synthetic sample; it is left as it was.
    """
    if lesions < SMALLEST:
        raise ValueError(f"lesions={lesions}: the sample needs at least {SMALLEST} (three for each class)")
    if seed < 0:
        raise ValueError(f"seed={seed}: must not be negative")
    if folder.exists() and not _marker(folder).get("synthetic"):
        raise FileExistsError(
            f"{folder} exists and is not a synthetic sample ({MARKER} is missing), so it is left alone: "
            "name another folder, or move this one away"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch, "new")
        new.mkdir()  # not the scratch folder itself, which only its owner may read
        _fill(new, lesions, seed)
        if folder.exists():
            folder.rename(Path(scratch, "old"))
        new.rename(folder)


def is_current(folder: Path, *, lesions: int, seed: int) -> bool:
    """Say whether a folder holds the sample that :func:`draw` would make with these arguments.

    Parameters
    ----------
    folder
        The folder to look at; it need not exist.
    lesions, seed
        As for :func:`draw`.

    Returns
    -------
    bool
        False too when one of the sample's files is gone, or an older version of the library drew it.
    """
    complete = all((folder / name).is_file() for name in (*PARTS, TABLE, MASKS))
    return complete and _marker(folder) == _expected(lesions, seed)


def _expected(lesions: int, seed: int) -> dict[str, object]:
    return {"synthetic": True, "lesions": lesions, "seed": seed, "version": VERSION}


def _marker(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# --- files ---------------------------------------------------------------------------------------------


def _fill(folder: Path, lesions: int, seed: int) -> None:
    table = _table(lesions, np.random.default_rng([seed, 0]))
    images: dict[str, bytes] = {}
    masks: dict[str, bytes] = {}
    groups = table.groupby("lesion_id", sort=False)
    for number, (_, rows) in enumerate(tqdm(groups, desc="drawing the sample", unit="lesion")):
        # A generator per lesion: no lesion depends on how many numbers another one used.
        rng = np.random.default_rng([seed, 1, number])
        colours, cover = _plate(KINDS[rows["dx"].iloc[0]], rng)
        for row in rows.itertuples():
            photo, mask = _photograph(colours, cover, SOURCES[str(row.dataset)], rng)
            name = str(row.image_id)
            images[f"{name}.jpg"] = _encode(photo, "JPEG", quality=90)
            masks[f"{Path(MASKS).stem}/{name}_segmentation.png"] = _encode(mask, "PNG")
    names = sorted(images)
    half = len(names) // 2
    for part, members in zip(PARTS, (names[:half], names[half:]), strict=True):
        _pack(folder / part, {name: images[name] for name in members})
    _pack(folder / MASKS, dict(sorted(masks.items())))
    table.to_csv(folder / TABLE, index=False, lineterminator="\n")
    (folder / MARKER).write_text(json.dumps(_expected(lesions, seed), indent=2) + "\n", encoding="utf-8")


def _encode(image: Image.Image, form: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _pack(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)  # dated 1980, whenever it is written: the same bytes each time
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)


# --- table ---------------------------------------------------------------------------------------------


def _table(lesions: int, rng: np.random.Generator) -> pd.DataFrame:
    cases = [_case(dx, rng) for dx, count in _counts(lesions).items() for _ in range(count)]
    for column, (gap, share) in GAPS.items():
        for hit in rng.choice(lesions, size=max(1, round(share * lesions)), replace=False):
            cases[hit][column] = gap
    sizes = [1 + _pick(dict(enumerate(KINDS[case["dx"]].photos)), rng) for case in cases]
    sizes[0] = max(sizes[0], 2)  # a sample without a lesion seen twice would have no leak to show
    lesion_ids = rng.permutation(lesions)
    image_ids = iter(rng.permutation(sum(sizes)))
    rows = [
        {"lesion_id": f"SYN_{lesion:07d}", "image_id": f"SYN_{next(image_ids):07d}", **case}
        for case, lesion, size in zip(cases, lesion_ids, sizes, strict=True)
        for _ in range(size)
    ]
    return pd.DataFrame(rows)


def _counts(lesions: int) -> dict[str, int]:
    fewest = 6 if lesions >= 70 else 3
    counts = {dx: max(fewest, round(kind.share * lesions)) for dx, kind in KINDS.items()}
    counts["nv"] += lesions - sum(counts.values())
    return counts


def _case(dx: str, rng: np.random.Generator) -> dict[str, Any]:
    kind = KINDS[dx]
    source = _pick(dict(zip(SOURCES, kind.sources, strict=True)), rng)
    followed = dx == "nv" and source == "vidir_molemax" and rng.random() < 0.95
    return {
        "dx": dx,
        "dx_type": "follow_up" if followed else _pick(kind.proof, rng),
        "age": float(np.clip(5 * round(rng.normal(*kind.age) / 5), 0, 85)),
        "sex": "female" if rng.random() < kind.female else "male",
        "localization": _pick(SITES[kind.sites], rng),
        "dataset": source,
    }


def _pick(odds: Mapping[Key, float], rng: np.random.Generator) -> Key:
    weights = np.fromiter(odds.values(), float)
    return list(odds)[rng.choice(len(weights), p=weights / weights.sum())]


# --- lesions -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spots:
    """A texture: wherever smooth noise exceeds a threshold, a layer of the lesion gains."""

    layer: str  # melanin and blood, optical densities; white and blue, the share of the colour they replace
    gain: float
    cells: tuple[int, int]  # bumps of the noise along a plate's side, at least and at most
    threshold: float
    lines: bool = False  # where the noise is near zero instead: a net or a tree


TEXTURES = {
    "network": (Spots("melanin", 0.55, (44, 62), -0.4, lines=True),),
    "globules": (Spots("melanin", 0.60, (44, 64), 1.0),),
    "clods": (Spots("melanin", 0.60, (14, 26), 1.0),),
    "milia": (Spots("white", 0.55, (46, 60), 1.6), Spots("melanin", 0.90, (40, 60), 1.6)),
    "scale": (Spots("white", 0.45, (46, 72), 0.9), Spots("white", 0.25, (10, 16), 0.8)),
    "veil": (Spots("blue", 0.65, (6, 10), 0.7),),
    "vessels": (Spots("blood", 0.80, (9, 15), -0.05, lines=True),),
    "dots": (Spots("blood", 0.70, (48, 64), 1.1),),
    "lacunae": (Spots("blood", 0.80, (16, 30), 0.4),),
    "thrombus": (Spots("melanin", 1.30, (10, 22), 0.7),),
    "ulcer": (Spots("blood", 1.10, (9, 14), 1.2), Spots("melanin", 0.60, (14, 20), 1.4)),
}


@dataclass
class Canvas:
    """A lesion being drawn, in its own frame; every field is (PLATE, PLATE)."""

    cover: Field  # 0 on skin, 1 on the lesion
    centre: Field  # 0 in the middle, 1 at the border
    angle: Field  # radians
    layers: dict[str, Field]  # as in Spots


def _noise(cells: int, rng: np.random.Generator) -> Field:
    """Smooth noise (PLATE, PLATE) of about unit variance, with so many cells along a side."""
    grid = Image.fromarray(1.3 * rng.standard_normal((cells, cells), np.float32))
    return np.asarray(grid.resize((PLATE, PLATE), Image.Resampling.BICUBIC))


def _step(field: Field, threshold: float, width: float) -> Field:
    return np.clip((field - threshold) / width + 0.5, 0, 1)


def _spread(deviation: float, rng: np.random.Generator) -> float:
    """Draw a log-normal factor around 1; a plain float, which leaves float32 arrays what they are."""
    return math.exp(rng.normal(0, deviation))


def _lesion(kind: Kind, rng: np.random.Generator) -> Canvas:
    canvas = _outline(kind, rng)
    uneven = _noise(int(rng.integers(5, 10)), rng) + 0.5 * _noise(int(rng.integers(14, 26)), rng)
    uneven = 1 + kind.patchy * _spread(0.4, rng) * uneven
    fading = 1 - rng.uniform(0, 0.4) * np.clip(canvas.centre, 0, 1) ** 2
    blank = np.zeros_like(canvas.cover)
    canvas.layers = {
        "melanin": np.clip(kind.melanin * _spread(0.26, rng) * uneven * fading, 0.03, None),
        "blood": blank + kind.blood * _spread(0.30, rng),
        "white": blank,
        "blue": blank,
    }
    for name, chance in kind.textures.items():
        if rng.random() < chance:
            _texture(canvas, name, rng)
    return canvas


def _outline(kind: Kind, rng: np.random.Generator) -> Canvas:
    """Draw the border: an ellipse with a few random waves, roughened by noise."""
    span = np.arange(PLATE, dtype=np.float32) - PLATE / 2
    stretch = _spread(0.16, rng)
    x, y = np.meshgrid(span / stretch, span * stretch)
    angle, far = np.arctan2(y, x), np.hypot(x, y)
    radius = float(np.clip(kind.radius * _spread(0.22, rng), 11, 50))
    ragged = kind.ragged * _spread(0.35, rng)
    waves, turns = np.arange(2, 10)[:, None], np.linspace(-np.pi, np.pi, 181)
    swing = rng.normal(size=waves.shape) / waves * np.cos(waves * turns + rng.uniform(0, 7, waves.shape))
    border = radius * np.clip(1 + 1.7 * ragged * swing.sum(0), 0.45, 1.5)
    reach = np.interp(angle, turns, border).astype(np.float32)
    rough = radius * ragged * (0.4 * _noise(16, rng) + 0.4 * _noise(40, rng))
    cover = _step(reach - far + rough, 0, kind.edge * _spread(0.4, rng))
    return Canvas(cover * cover * (3 - 2 * cover), far / reach, angle, {})


def _texture(canvas: Canvas, name: str, rng: np.random.Generator) -> None:
    layers, strength = canvas.layers, _spread(0.25, rng)
    if name == "pale":  # the scar in the middle of a dermatofibroma
        scar = _step(0.15 * _noise(20, rng) - canvas.centre, -rng.uniform(0.35, 0.65), 0.5)
        layers["white"] = np.maximum(layers["white"], min(0.65 * strength, 0.9) * scar)
    elif name == "streaks":  # rays across the border of a melanoma
        rays = _step(np.cos(canvas.angle * rng.integers(14, 24) + 1.5 * _noise(10, rng)), 0.4, 1.0)
        rays *= _step(canvas.centre, 0.75, 0.4) * _step(-canvas.centre, -1.15, 0.3)
        canvas.cover = np.maximum(canvas.cover, 0.8 * rays)
        layers["melanin"] = layers["melanin"] + 0.4 * strength * rays
    else:
        for spots in TEXTURES[name]:
            noise = _noise(int(rng.integers(*spots.cells)), rng)
            where = _step(-np.abs(noise) if spots.lines else noise, spots.threshold, 0.5 if spots.lines else 0.9)
            layers[spots.layer] = layers[spots.layer] + spots.gain * strength * where


def _plate(kind: Kind, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """Draw a lesion on its skin (RGB) and its mask (L), both PLATE pixels square."""
    lesion = _lesion(kind, rng)
    tan, flush = rng.gamma(3.0, 0.04), rng.gamma(3.0, 0.03)
    freckles = rng.uniform(0, 0.2) * _step(_noise(36, rng), rng.uniform(1.5, 3.0), 1.2)
    grain = 0.03 * _noise(110, rng) + 0.03 * _noise(60, rng)
    melanin = tan * (1 + 0.15 * _noise(20, rng)) + freckles + lesion.cover * lesion.layers["melanin"]
    blood = flush * (1 + 0.2 * _noise(8, rng)) + grain + lesion.cover * lesion.layers["blood"]
    hues = np.exp(rng.normal(0, 0.08, (2, 3))).astype(np.float32) * (MELANIN, BLOOD)
    light = SKIN * np.exp(-melanin[..., None] * hues[0] - blood[..., None] * hues[1])
    for layer, colour in (("blue", BLUE_GREY), ("white", WHITE)):
        share = lesion.cover * np.clip(lesion.layers[layer], 0, 0.9)
        light += share[..., None] * (colour - light)
    plate = Image.fromarray(np.uint8(255 * np.clip(light, 0, 1)))
    if rng.random() < 0.3:
        _hairs(plate, rng)
    return plate, Image.fromarray(np.uint8(255 * (lesion.cover > 0.5)))


def _hairs(plate: Image.Image, rng: np.random.Generator) -> None:
    fine = 2  # drawn twice as large, so that a hair can be thinner than a pixel
    layer = Image.new("L", (PLATE * fine, PLATE * fine))
    pen = ImageDraw.Draw(layer)
    lie, steps = rng.uniform(0, 2 * np.pi), np.linspace(-1, 1, 12)
    for _ in range(rng.integers(3, 30)):
        turn, bend, length = rng.normal(lie, 0.5), rng.normal(0, 25), rng.uniform(40, 140)
        along, across = length * steps, bend * steps**2
        x = rng.uniform(0, PLATE) + along * np.cos(turn) - across * np.sin(turn)
        y = rng.uniform(0, PLATE) + along * np.sin(turn) + across * np.cos(turn)
        pen.line(
            list(zip(fine * x, fine * y, strict=True)),
            fill=int(rng.integers(90, 210)),
            width=int(rng.integers(1, 4)),
        )
    shade = rng.uniform(0.4, 1.6)
    plate.paste(
        (int(60 * shade), int(45 * shade), int(38 * shade)),
        mask=layer.resize(plate.size, Image.Resampling.BILINEAR),
    )


# --- photographs ---------------------------------------------------------------------------------------


def _photograph(
    plate: Image.Image, cover: Image.Image, source: Source, rng: np.random.Generator
) -> tuple[Image.Image, Image.Image]:
    """Photograph a plate: turned, zoomed, shifted, and in the light of its source; and its mask."""
    turn, zoom = rng.uniform(0, 2 * np.pi), rng.uniform(0.92, 1.25)
    cos, sin = np.cos(turn) / zoom, np.sin(turn) / zoom
    x, y = WIDTH / 2 + rng.normal(0, 5), HEIGHT / 2 + rng.normal(0, 4)
    view = (cos, -sin, PLATE / 2 - cos * x + sin * y, sin, cos, PLATE / 2 - sin * x - cos * y)
    size, how = (WIDTH, HEIGHT), Image.Transform.AFFINE
    mask = cover.transform(size, how, view, Image.Resampling.NEAREST)
    photo = plate.transform(size, how, view, Image.Resampling.BILINEAR)
    photo = photo.filter(ImageFilter.GaussianBlur(source.blur * rng.uniform(0.3, 1.8)))
    light = np.asarray(photo, np.float32) / 255
    light *= _spread(0.05, rng) * np.array(source.tint, np.float32) * np.exp(rng.normal(0, 0.025, 3)).astype(np.float32)
    light = 0.62 + source.contrast * rng.uniform(0.88, 1.12) * (light - 0.62)
    light *= _falloff(source, rng)[..., None]
    light += rng.uniform(0.004, 0.02) * rng.standard_normal(light.shape, np.float32)
    return Image.fromarray(np.uint8(255 * np.clip(light, 0, 1))), mask


def _falloff(source: Source, rng: np.random.Generator) -> Field:
    """Say how much light reaches each pixel, (HEIGHT, WIDTH): a slope, soft corners, at times a dark rim."""
    x, y = np.meshgrid(np.linspace(-1, 1, WIDTH), np.linspace(-0.75, 0.75, HEIGHT))
    far = np.hypot(x - rng.normal(0, 0.04), y - rng.normal(0, 0.04))
    light = 1 + rng.normal(0, 0.04) * x + rng.normal(0, 0.04) * y - rng.uniform(0.02, 0.16) * far**2
    if rng.random() < source.corners:
        light *= 1 - 0.9 * _step(far.astype(np.float32), rng.uniform(0.95, 1.1), 0.06)
    return light.astype(np.float32)
