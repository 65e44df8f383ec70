"""Thumbnails. Only exec workers import this module, so no web worker ever loads Pillow."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Annotated, Literal

from msgspec import Meta
from PIL import Image, ImageOps

from exec_worker import InvalidRequest, Response, node

Pixels = Annotated[int, Meta(ge=1, le=2048)]
Format = Literal["webp", "png", "jpeg"]

# A file of a few kilobytes can claim to be a picture of gigabytes: its header is enough to refuse it.
Image.MAX_IMAGE_PIXELS = 50_000_000
warnings.simplefilter("error", Image.DecompressionBombWarning)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


@node(stage="core", idempotent=True)
def thumbnail(
    image: bytes,
    width: Pixels = 256,
    height: Pixels = 256,
    format: Format = "webp",  # noqa: A002 -- it is the name of the query parameter
) -> Response:
    """Shrink a picture to fit into width times height; it keeps its ratio and is never enlarged."""
    picture = _open(image)
    picture.thumbnail((width, height))
    shrunk = io.BytesIO()
    has_alpha = picture.has_transparency_data and format != "jpeg"
    picture.convert("RGBA" if has_alpha else "RGB").save(shrunk, format)
    return Response(shrunk.getvalue(), media_type=f"image/{format}")


def _open(image: bytes) -> Image.Image:
    """The picture, upright."""
    try:
        return ImageOps.exif_transpose(Image.open(io.BytesIO(image), formats=("JPEG", "PNG", "WEBP", "GIF")))
    except _BOMB as error:
        raise InvalidRequest(f"the picture has more than {Image.MAX_IMAGE_PIXELS} pixels") from error
    except _BROKEN as error:
        raise InvalidRequest("the body is no JPEG, PNG, WebP or GIF picture, or a damaged one") from error
