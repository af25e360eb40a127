"""Default images that come from a registry and not from the nodes' own workshops: settings, and which Python is where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from cove.exception import InvalidError
from cove.wire import image_pb2
from policies.images import in_order
from snapshots.registry.credentials import PASSWORD_KEY, USERNAME_KEY
from snapshots.registry.reference import parse_reference

Python = Annotated[str, msgspec.Meta(pattern=r"^3\.[0-9]{1,2}$")]


class DefaultImages(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Images for ``debian_slim``, which go before those that nodes make. The text form of this struct does not show the password."""

    images: dict[Python, str] = {}
    """Python version to the image that has it, such as ``{"3.12" = "registry.example/python:3.12-slim"}``."""

    username: str = ""
    """For the registry of all of them; empty: it asks for none."""

    password: str = ""
    """Belongs to ``username``."""

    def __post_init__(self) -> None:
        """Raises:  ValueError: a reference is none."""
        try:
            for reference in self.images.values():
                parse_reference(reference)
        except InvalidError as error:
            raise ValueError(str(error)) from error

    def __repr__(self) -> str:
        return f"DefaultImages(images={self.images!r}, username={self.username!r}, password={'…' if self.password else ''!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("images", self.images), ("username", self.username), ("password", "…" if self.password else "")]

    @property
    def pythons(self) -> list[str]:
        """Versions that come from the registry, oldest first."""
        return in_order(self.images)

    def resolved(self, definition: image_pb2.ImageDefinition) -> image_pb2.ImageDefinition:
        """``definition``, on the registry's image where it is on a default one that comes from there.

        So a cached layer is one on what is configured now.
        """
        reference = self.images.get(definition.debian) if definition.WhichOneof("base") == "debian" else None
        if reference is None:
            return definition
        found = image_pb2.ImageDefinition()
        found.CopyFrom(definition)
        found.registry.CopyFrom(image_pb2.RegistryImage(reference=reference, secret=self._secret))
        return found

    @property
    def _secret(self) -> Mapping[str, str]:
        return {USERNAME_KEY: self.username, PASSWORD_KEY: self.password} if self.username else {}
