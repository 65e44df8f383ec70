"""Pictures of the Mandelbrot set, by NumPy."""

from __future__ import annotations

import io
from typing import Annotated

import numpy as np
from msgspec import Meta
from PIL import Image

from exec_worker import node

ROUNDS = 200
FAR_OUT = 256.0
"""The square of the circle's radius: larger than 4, so that the count can be made smooth."""
Pixels = Annotated[int, Meta(ge=16, le=2048)]
Coordinate = Annotated[float, Meta(ge=-3, le=3)]
Scale = Annotated[float, Meta(ge=1e-12, le=4)]


@node(stage="core", idempotent=True)
def mandelbrot(
    width: Pixels = 480,
    height: Pixels = 360,
    x: Coordinate = -0.6,
    y: Coordinate = 0.0,
    scale: Scale = 3.2,
) -> Annotated[bytes, "image/png"]:
    """Draw the Mandelbrot set around the point (x, y); `scale` is the width of what is seen."""
    picture = Image.fromarray(_colour(_escape(width, height, complex(x, y), scale)))
    png = io.BytesIO()
    picture.save(png, "png")
    return png.getvalue()


def _escape(width: int, height: int, centre: complex, scale: float) -> np.ndarray:
    """After how many rounds each point leaves the circle, as a smooth number; 0 for those that stay."""
    step = scale / width
    across = (np.arange(width) - (width - 1) / 2) * step
    down = ((height - 1) / 2 - np.arange(height)) * step
    points = (across[None, :] + 1j * down[:, None] + centre).ravel()
    left_after = np.zeros(points.size)
    inside, z = np.arange(points.size), points.copy()
    for n in range(1, ROUNDS + 1):
        z = z * z + points[inside]
        size = z.real**2 + z.imag**2
        out = size > FAR_OUT
        left_after[inside[out]] = n + 1 - np.log2(np.log2(size[out]) / 2)
        inside, z = inside[~out], z[~out]
    return left_after.reshape(height, width)


def _colour(left_after: np.ndarray) -> np.ndarray:
    """Blue through white to amber, round and round; black where nothing left."""
    phase = np.sqrt(left_after)[..., None] * 0.9 + np.array([3.4, 3.9, 4.6])
    colours: np.ndarray = (127.5 * (1 + np.cos(phase))).astype(np.uint8)
    colours[left_after == 0] = 0
    return colours
