"""What page and router say to each other over the WebSocket of a terminal. Pure.

Text messages are JSON objects with a ``type``; binary messages are 8 bytes of offset (big-endian) and data.

===========  ===========  =======================================================================================================
from         message      means
===========  ===========  =======================================================================================================
page         attach       the first one: where to begin, and what became of keys on an earlier connection
page         binary       keys; the offset counts what this page has typed since it was loaded
page         seen         output before ``offset`` is on the screen: the router sends :data:`WINDOW_BYTES` beyond it, no more
page         resize       the window has another size, or this page was clicked into: it leads now
router       attached     answers ``attach``
router       binary       output; the offset counts what the process has written. One beyond the last byte: those between are lost
router       typed        keys before ``taken`` have reached the process
router       leads        whether this page sets the size and answers the questions that programs put to their terminal
router       exited       the process is over; the last one
router       failed       there is nothing to show; the last one
===========  ===========  =======================================================================================================

The router closes with a :class:`Close` code that says whether to come again.

Keys arrive exactly once. A page sends again what it does not know to be taken; the router remembers how much it took from each page. A
router that was restarted does not: then the process's own input offset tells, which counts other pages' keys as well. So keys typed in
two pages at the moment when a router dies can be lost; none is ever doubled.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Annotated, Final

import msgspec

WINDOW_BYTES: Final = 512 * 1024
"""Output on its way to one page. A spool's piece may go beyond it."""

KEYS_BYTES: Final = 32 * 1024
"""Most keys in one message."""

TYPED_WINDOW_BYTES: Final = 256 * 1024
"""Keys of one page that the process has not taken yet."""

MAX_MESSAGE_BYTES: Final = KEYS_BYTES + 4096

_OFFSET: Final = struct.Struct(">Q")

Offset = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""JavaScript's numbers are exact up to there."""
Length = Annotated[int, msgspec.Meta(ge=1, le=1000)]
PageId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]


class Close(IntEnum):
    """Why the router closed the connection. All but TRY_AGAIN are final."""

    TRY_AGAIN = 1013
    VIOLATION = 1008
    """The page broke the rules above."""
    EXITED = 4000
    OVER = 4001
    """The session's time is over, or somebody ended it."""
    FAILED = 4002


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Of a window, in characters."""

    rows: Length
    columns: Length


class Attach(Size, frozen=True, tag="attach", kw_only=True, forbid_unknown_fields=True):
    page: PageId
    """Chosen by the page when it was loaded."""
    offset: Offset
    """Of the first byte of output that it lacks."""
    taken: Offset
    """How many of its keys it knows to be taken."""
    pending: Annotated[int, msgspec.Meta(ge=0, le=TYPED_WINDOW_BYTES)]
    """How many more it has sent."""
    stdin: Offset | None
    """The process's input offset after ``taken``; None: no key was taken yet, nor this told."""


class Resize(Size, frozen=True, tag="resize", kw_only=True, forbid_unknown_fields=True):
    """See the table."""


class Seen(msgspec.Struct, frozen=True, tag="seen", kw_only=True, forbid_unknown_fields=True):
    offset: Offset


class Attached(msgspec.Struct, frozen=True, tag="attached", kw_only=True):
    total: int
    """Output before this offset is old: questions in it were answered, or nobody waits for the answer."""
    taken: int
    stdin: int


class Typed(msgspec.Struct, frozen=True, tag="typed", kw_only=True):
    taken: int
    stdin: int


class Leads(msgspec.Struct, frozen=True, tag="leads", kw_only=True):
    leads: bool


class Exited(msgspec.Struct, frozen=True, tag="exited", kw_only=True):
    exit_code: int
    text: str
    """How it ended, for people."""


class Failed(msgspec.Struct, frozen=True, tag="failed", kw_only=True):
    code: str
    cause: str
    remedy: str


class Keys(msgspec.Struct, frozen=True):
    """A binary message of the page."""

    offset: int
    data: bytes


ToPage = Attached | Typed | Leads | Exited | Failed
FromPage = Attach | Resize | Seen

_from_page: Final[msgspec.json.Decoder[FromPage]] = msgspec.json.Decoder(FromPage)


class Violation(Exception):
    """The page said something that it must not; the text is for its console."""


def decode(message: str | bytes) -> FromPage | Keys:
    """A message of the page. Raises: Violation."""
    if isinstance(message, bytes):
        return _keys(message)
    try:
        return _from_page.decode(message)
    except msgspec.MsgspecError:
        raise Violation("A message is not one of the protocol's.") from None


def encode(message: ToPage) -> str:
    """As text."""
    return msgspec.json.encode(message).decode()


def encode_output(offset: int, data: bytes) -> bytes:
    """As a binary message."""
    return _OFFSET.pack(offset) + data


def _keys(message: bytes) -> Keys:
    data = message[_OFFSET.size :]
    if not 1 <= len(data) <= KEYS_BYTES:
        raise Violation(f"A message with {len(data)} bytes of keys.")
    return Keys(_OFFSET.unpack_from(message)[0], data)
