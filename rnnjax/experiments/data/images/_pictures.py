"""Pictures at a given size, from files or arrays."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._arguments import checked_arguments
from rnnjax._extras import optional


def in_eight_bits(picture: Any, mode: str) -> Any:
    """A Pillow image in the mode "RGB" or "L": more bits scaled to 8, transparency over white.

    Raises:
      ValueError: numbers that are neither in 0..65535 nor, as floats, in 0..1 or 0..255.
    """
    image = optional("PIL.Image")
    if picture.mode[0] in "IF":  # 16 or 32 bits, or floats
        pixels = np.asarray(picture, np.float32)
        low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
        white = 65535 if picture.mode[0] == "I" else 1 if high <= 1 else 255
        if not 0 <= low <= high <= white:  # NaN included
            raise ValueError(f"its numbers go from {low:g} to {high:g}, expected 0 to {white}")
        picture = image.fromarray(np.round(pixels * (255 / white)).astype(np.uint8))
    elif "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = image.new("RGBA", picture.size, "white")
        picture = image.alpha_composite(white, picture)
    return picture.convert(mode)


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Open a picture with Pillow; what is wrong with it is said of the file."""
    image = optional("PIL.Image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image.DecompressionBombWarning)
            picture = image.open(path)
        with picture:
            yield picture
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no picture {path}") from None
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ValueError(f"{path}: this picture cannot be read: {error or type(error)}") from None


def check_picture(path: str | Path) -> None:
    """Raise an error if a picture is damaged, as fast as can be told without decoding it.

    A JPEG has to end as one, the checksums of a PNG have to be right; others are decoded.

    Raises:
      FileNotFoundError, ImportError, ValueError: as `read_image`.
    """
    with _opened(path) as picture:
        if picture.format == "PNG":
            picture.verify()
        elif picture.format != "JPEG" or not _ends_as_jpeg(path):
            picture.load()


def _ends_as_jpeg(path: str | Path) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, 2) - 64))
        return file.read().rstrip(b"\0\r\n").endswith(b"\xff\xd9")


def read_grey(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """Read a picture in grey, resized to `size`, height and width: `[height, width]` uint8.

    Raises:
      FileNotFoundError, ImportError, ValueError: as `read_image`.
    """
    with _opened(path) as picture:
        return np.asarray(in_eight_bits(picture, "L").resize(size[::-1]))


@checked_arguments
def read_image(path: str | Path, side: int) -> np.ndarray:
    """Read a picture, crop its centre square and resize it, in RGB.

    Pixels of more than 8 bits are scaled, transparent ones blended with white.

    Args:
      path: a file in any format that Pillow reads.
      side: height and width in pixels.

    Returns:
      `[side, side, 3]` uint8.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: Pillow is not installed.
      ValueError: not a picture, or a damaged one.
    """
    image, operations = optional("PIL.Image"), optional("PIL.ImageOps")
    with _opened(path) as opened:
        opened.draft("RGB", (2 * side, 2 * side))  # decode a JPEG at a reduced size
        upright = in_eight_bits(operations.exif_transpose(opened), "RGB")
        return np.asarray(operations.fit(upright, (side, side), image.Resampling.BICUBIC))


def check_pixels(name: str, array: np.ndarray) -> None:
    """Raise ValueError unless the numbers are uint8, or floats from 0 to 1."""
    if array.dtype == np.uint8:
        return
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise ValueError(f"{name} has dtype {array.dtype}: expected uint8 or floats")
    if not (np.issubdtype(array.dtype, np.floating) and array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            f"{name} is {array.dtype} from {array.min()} to {array.max()}: expected uint8 from 0 "
            "to 255 or floats from 0 to 1"
        )


def as_picture(picture: Any, side: int) -> np.ndarray:
    """Convert a file or an array to a picture `[side, side, 3]` of uint8.

    Args:
      picture: a path, or an array `[h, w, 3]` or `[h, w]` of uint8, or of floats in [0, 1].
      side: height and width in pixels.

    Raises:
      FileNotFoundError, ValueError: as `read_image`.
      ValueError: an array of another shape or range.
    """
    if isinstance(picture, str | Path):
        return read_image(picture, side)
    array = np.asarray(picture)
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"expected a picture [height, width, 3] or a file, got {array.shape}")
    check_pixels("the picture", array)
    if array.dtype != np.uint8:
        array = np.round(255 * array).astype(np.uint8)
    if array.shape[:2] == (side, side):
        return array
    image, operations = optional("PIL.Image"), optional("PIL.ImageOps")
    fitted = operations.fit(image.fromarray(array), (side, side), image.Resampling.BICUBIC)
    return np.asarray(fitted)
