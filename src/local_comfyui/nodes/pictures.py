"""The values that flow between image nodes: batches of 8-bit Pillow pictures.

ComfyUI computes in floats between 0 and 1; 8 bits per channel are what a saved PNG keeps of them anyway,
so results differ from a real server's by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PIL import Image

# The mask of a picture without alpha has this size in ComfyUI, whatever the picture's size.
NO_MASK_SIZE = (64, 64)


@dataclass(frozen=True)
class Images:
    """A batch of RGB pictures of one size."""

    frames: tuple[Image.Image, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.frames[0].size

    def each(self, change: Callable[[Image.Image], Image.Image]) -> Images:
        return Images(tuple(change(frame) for frame in self.frames))

    def frame(self, index: int) -> Image.Image:
        """The frame at `index`, repeating the batch where it is shorter than its partner."""
        return self.frames[index % len(self.frames)]

    @property
    def weight(self) -> int:
        return len(self.frames) * self.size[0] * self.size[1] * 3

    def __str__(self) -> str:
        return f"{len(self.frames)} image(s) of {self.size[0]}x{self.size[1]}"


@dataclass(frozen=True)
class Masks:
    """A batch of masks (mode L, 255 is 1.0) of one size."""

    frames: tuple[Image.Image, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.frames[0].size

    def frame(self, index: int) -> Image.Image:
        return self.frames[index % len(self.frames)]

    @property
    def weight(self) -> int:
        return len(self.frames) * self.size[0] * self.size[1]

    def __str__(self) -> str:
        return f"{len(self.frames)} mask(s) of {self.size[0]}x{self.size[1]}"


def weight_of(values: Iterable[object]) -> int:
    """About how many bytes the values of a cache entry hold."""
    return sum(value.weight for value in values if isinstance(value, Images | Masks))
