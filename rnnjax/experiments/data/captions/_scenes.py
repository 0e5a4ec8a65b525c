"""Synthetic pictures of two shapes, with the sentences that describe them."""

from typing import Literal, NamedTuple

import numpy as np

from rnnjax._arguments import check_choice, checked_arguments
from rnnjax.experiments.data._storage import cached
from rnnjax.experiments.data.captions._captioned import Captioned, CaptionSource

SIZES: dict[str, float] = {"small": 0.11, "large": 0.18}  # radius, as a share of the side
COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.15, 0.15),
    "green": (0.15, 0.75, 0.20),
    "blue": (0.20, 0.35, 0.95),
    "yellow": (0.95, 0.90, 0.20),
    "purple": (0.65, 0.20, 0.80),
    "white": (0.95, 0.95, 0.95),
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross")
RELATIONS: dict[str, str] = {  # each with its inverse
    "above": "below",
    "below": "above",
    "to the left of": "to the right of",
    "to the right of": "to the left of",
}
HELD_OUT = frozenset((color, SHAPES[k % len(SHAPES)]) for k, color in enumerate(COLORS))
"""Pairs of colour and shape that occur in no training picture: one for each colour."""

Part = Literal["train", "pictures", "combinations"]
PARTS: tuple[Part, ...] = ("train", "pictures", "combinations")

_SEEN = [(color, shape) for color in COLORS for shape in SHAPES if (color, shape) not in HELD_OUT]
_ALL = [(color, shape) for color in COLORS for shape in SHAPES]
_MARGIN, _GAP, _SHIFT = 0.20, 0.44, 0.15


class Thing(NamedTuple):
    size: str
    color: str
    shape: str
    x: float  # of the centre, from the left, as a share of the side
    y: float  # from the top

    @property
    def phrase(self) -> str:
        return f"a {self.size} {self.color} {self.shape}"


class Scene(NamedTuple):
    first: Thing
    relation: str  # of the first thing to the second
    second: Thing

    @property
    def sentences(self) -> tuple[str, str]:
        """Both descriptions: the first thing named first, and the second named first."""
        one, other = self.first.phrase, self.second.phrase
        return (
            f"{one} is {self.relation} {other}",
            f"{other} is {RELATIONS[self.relation]} {one}",
        )


class Picture(NamedTuple):
    image: np.ndarray  # [S, S, 3] uint8
    scene: Scene


@checked_arguments
def picture(index: int, *, part: Part = "train", side: int = 32, seed: int = 0) -> Picture:
    """Draw the synthetic picture with a given index: two shapes, one above or beside the other.

    Each has a size, a colour and a shape. Six of the thirty pairs of colour and shape (`HELD_OUT`:
    red circles, green squares, …) occur only in the part "combinations", there in every picture,
    while each colour and each shape is in "train" in other pairs. A model that describes them
    correctly generalises to new combinations. Positions, exact sizes and colours, the grey of
    the background and noise on every pixel differ from picture to picture.

    Args:
      index: from 0; (seed, part, index) determines the scene.
      part: "train"; "pictures", further pictures of the same kind; or "combinations".
      side: height and width in pixels.
      seed: of the whole data set.

    Returns:
      The image and its `Scene`, whose `sentences` are the two descriptions.

    Raises:
      ValueError: an unknown part, or a negative index.

    Example:
      >>> from rnnjax.experiments.data import picture
      >>> picture(0).scene.sentences[0]
      'a large white square is below a small yellow cross'
      >>> picture(0).image.shape
      (32, 32, 3)

    References:
      Lake & Baroni (2018), Generalization without systematicity, ICML (held-out combinations).
      Johnson et al. (2017), CLEVR, CVPR (pictures of shapes with colours, sizes and relations).
    """
    random = _random(index, part, seed)
    scene = _scene(random, part)
    return Picture(_draw(random, scene, side), scene)


def draw_scene(index: int, *, part: Part = "train", seed: int = 0) -> Scene:
    """The scene of `picture(index, part=part, seed=seed)`, without drawing the picture."""
    return _scene(_random(index, part, seed), part)


@checked_arguments
def synthetic_pictures(train: int, test: int, side: int = 32) -> CaptionSource:
    """Synthetic training pictures, and two test sets: new pictures, and held-out combinations.

    Args:
      train: number of training pictures.
      test: number of pictures in each test set.
      side: height and width in pixels.
    """
    return CaptionSource(
        _part("train", train, side),
        {
            "pictures": _part("pictures", test, side),
            "combinations": _part("combinations", test, side),
        },
    )


def _part(part: Part, count: int, side: int) -> Captioned:
    captions = [draw_scene(k, part=part).sentences for k in range(count)]
    return Captioned(cached(lambda k: picture(k, part=part, side=side).image), captions)


def _random(index: int, part: Part, seed: int) -> np.random.Generator:
    """The random generator of a picture, first for its scene, then for its appearance."""
    check_choice("part", part, PARTS)
    if index < 0:
        raise ValueError(f"index must count from 0, got {index}")
    return np.random.default_rng((seed, PARTS.index(part), index))


def _scene(random: np.random.Generator, part: Part) -> Scene:
    held_out = sorted(HELD_OUT)
    if part == "combinations":
        kinds = [held_out[random.integers(len(held_out))], _ALL[random.integers(len(_ALL))]]
        if random.random() < 0.5:
            kinds.reverse()
    else:
        kinds = [_SEEN[k] for k in random.integers(len(_SEEN), size=2)]
    sizes = [list(SIZES)[k] for k in random.integers(len(SIZES), size=2)]
    relation = list(RELATIONS)[random.integers(len(RELATIONS))]

    # Along the axis of the relation the two are too far apart to touch, across it nearly aligned.
    near = random.uniform(_MARGIN, 1 - _MARGIN - _GAP)
    far = random.uniform(near + _GAP, 1 - _MARGIN)
    across = random.uniform(_MARGIN, 1 - _MARGIN)
    shifted = np.clip(across + random.uniform(-_SHIFT, _SHIFT), _MARGIN, 1 - _MARGIN)
    along = (near, far) if relation in ("above", "to the left of") else (far, near)
    vertical = relation in ("above", "below")
    places = [
        (float(b), float(a)) if vertical else (float(a), float(b))
        for a, b in zip(along, (across, shifted), strict=True)
    ]
    first, second = (
        Thing(size, color, shape, x, y)
        for size, (color, shape), (x, y) in zip(sizes, kinds, places, strict=True)
    )
    return Scene(first, relation, second)


def _draw(random: np.random.Generator, scene: Scene, side: int) -> np.ndarray:
    image = np.full((side, side, 3), random.uniform(0.02, 0.30))
    grid = (np.arange(side) + 0.5) / side
    for thing in (scene.first, scene.second):
        radius = SIZES[thing.size] * random.uniform(0.9, 1.1)
        color = np.array(COLORS[thing.color]) + random.normal(0, 0.03, 3)
        distance = _distance(thing.shape, grid[None] - thing.x, grid[:, None] - thing.y, radius)
        cover = np.clip(0.5 - distance * side, 0, 1)[:, :, None]  # anti-aliasing
        image += cover * (color - image)
    image += random.normal(0, 0.02, image.shape)
    return (255 * np.clip(image, 0, 1)).round().astype(np.uint8)


def _distance(shape: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance of points to a shape around the origin (negative: inside)."""
    if shape == "circle":
        return np.hypot(x, y) - radius
    if shape == "square":
        return np.maximum(abs(x), abs(y)) - 0.88 * radius
    if shape == "diamond":
        return (abs(x) + abs(y) - 1.2 * radius) / np.sqrt(2)
    if shape == "triangle":  # equilateral, upright: three half-planes at 0.6 radius
        slanted = np.sqrt(0.75) * abs(x) - 0.5 * y
        return np.maximum(slanted, y - 0.1 * radius) - 0.6 * radius
    width = 0.36 * radius  # half the width of a bar of the cross
    return np.minimum(
        np.maximum(abs(x) - radius, abs(y) - width), np.maximum(abs(y) - radius, abs(x) - width)
    )
