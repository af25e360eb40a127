"""Imports that only have to work in containers of an image."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from cove._runtime import is_local


@contextlib.contextmanager
def deferred_imports(image_id: str) -> Iterator[None]:
    """Pass over imports that fail, except in a container of the image."""
    try:
        yield
    except ImportError:
        if not is_local() and os.environ.get("COVE_IMAGE_ID") == image_id:
            raise
