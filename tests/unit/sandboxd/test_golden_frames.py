"""The daemon's codec against the frames that the guest's tests read too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandboxd.channel.fields import ProtocolViolation, Reader, Writer
from sandboxd.channel.frames import FrameType, encode, split

GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "support" / "golden_frames.json").read_text())


def read(reader: Reader, kind: str, value: Any) -> Any:
    """One field, in the shape that the file gives it."""
    match kind:
        case "str":
            return reader.bytes_().decode()
        case "raw":
            return bytes(reader.u8() for _ in range(len(value) // 2)).hex()
        case "list":
            return [reader.bytes_().decode() for _ in range(reader.u32())]
        case "map":
            return [[reader.bytes_().decode(), reader.bytes_().decode()] for _ in range(reader.u32())]
    return getattr(reader, kind)()


@pytest.mark.parametrize("golden", GOLDEN, ids=[golden["name"] for golden in GOLDEN])
def test_frames_split_and_fields_read(golden: dict[str, Any]) -> None:
    data = bytes.fromhex(golden["hex"])
    (frame,), used = split(data)
    assert used == len(data)
    assert (frame.type, frame.stream, frame.channel, frame.offset) == tuple(golden[key] for key in ("type", "stream", "channel", "offset"))
    reader = Reader(frame.payload)
    for _, kind, value in golden["fields"]:
        assert read(reader, kind, value) == value
    reader.end()
    assert encode(FrameType(frame.type), frame.stream, frame.channel, frame.offset, frame.payload) == data


@pytest.mark.parametrize("golden", GOLDEN, ids=[golden["name"] for golden in GOLDEN])
def test_a_payload_that_ends_early_is_a_violation(golden: dict[str, Any]) -> None:
    payload = bytes.fromhex(golden["hex"])[20:]
    for length in range(len(payload)):
        reader = Reader(payload[:length])
        with pytest.raises(ProtocolViolation):
            for _, kind, value in golden["fields"]:
                read(reader, kind, value)


def test_a_string_is_written_as_the_guest_reads_it() -> None:
    (chmod,) = (golden for golden in GOLDEN if golden["name"] == "call chmod")
    operation, path, mode = (value for _, _, value in chmod["fields"])
    payload = Writer().u8(operation).bytes_(path.encode()).u32(mode).done()
    assert encode(FrameType.OPEN, chmod["stream"], chmod["channel"], 0, payload).hex() == chmod["hex"]
