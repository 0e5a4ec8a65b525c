"""Picture files by the names in a caption file: none outside their folder, none damaged."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePath

import numpy as np

from rnnjax.experiments.data.captions._files import PictureCaptions
from rnnjax.experiments.data.images._pictures import check_picture, read_image

_LONGEST = 255  # bytes of a file name


def check_names(entries: Iterable[PictureCaptions]) -> None:
    """Raise ValueError, naming file and line, for a name that leads out of the folder."""
    for entry in entries:
        parts = PurePath(entry.name).parts
        if PurePath(entry.name).anchor or ".." in parts:
            raise ValueError(
                f"{entry.where}: {entry.name!r} leads out of the folder of pictures: expected the "
                "name of a file in it"
            )
        if "\0" in entry.name or any(len(os.fsencode(part)) > _LONGEST for part in parts):
            raise ValueError(f"{entry.where}: {entry.name[:60]!r} … cannot be the name of a file")


class PictureFiles:
    """Picture files in a few folders, by name; `files[name]` reads one.

    The folders may be links, which is how projects share data. What a name in them stands for has
    to lie in one of them, or in the folder of the whole data set.
    """

    def __init__(self, data: Path, folders: list[Path], side: int) -> None:
        self.folders, self._side = list(dict.fromkeys(folders)), side
        self._roots = tuple({Path(os.path.realpath(folder)) for folder in (data, *folders)})
        self._inside: dict[Path, bool] = {}

    def __str__(self) -> str:
        return " or ".join(str(folder) for folder in self.folders)

    def __contains__(self, name: str) -> bool:
        return self.path_of(name).is_file()

    def __getitem__(self, name: str, /) -> np.ndarray:
        return read_image(self.path_of(name), self._side)

    def path_of(self, name: str) -> Path:
        """The file with this name, in the first folder that has it."""
        paths = [folder / name for folder in self.folders]
        return next((path for path in paths if path.is_file()), paths[0])

    def check(self, name: str) -> None:
        """Raise ValueError if a file is damaged, or a link to one outside the data."""
        path = self.path_of(name)
        folder = path.parent
        if folder not in self._inside:
            self._inside[folder] = self._is_inside(folder)
        if not self._inside[folder] or (path.is_symlink() and not self._is_inside(path)):
            raise ValueError(
                f"{path} leads out of {self}, to {os.path.realpath(path)}: put the file itself "
                "there (cp -rL copies what links lead to)"
            )
        check_picture(path)

    def _is_inside(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(root) for root in self._roots)
