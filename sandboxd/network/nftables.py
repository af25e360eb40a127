"""libnftables through ctypes, JSON in and JSON out: 1 ms a transaction where the ``nft`` program takes 4.

Source: libnftables(3), libnftables-json(5).
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from cove.exception import InternalFailure

LIBRARY: Final = "libnftables.so.1"
_OUTPUT_JSON: Final = 1 << 4

Command = Mapping[str, Any]


class Nftables:
    """A libnftables context. It acts on the network namespace of the calling thread; threads take turns."""

    def __init__(self, library: str = LIBRARY) -> None:
        """Raises: InternalFailure: the library is not there."""
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            remedy = "Install it (Debian: libnftables1)."
            raise InternalFailure(f"{library} cannot be loaded: {error}.", remedy=remedy, retryable=False) from error
        for name in ("nft_ctx_new", "nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(self._library, name).restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_output_set_flags(self._context, _OUTPUT_JSON)
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)
        self._lock = threading.Lock()
        weakref.finalize(self, self._library.nft_ctx_free, self._context)

    def run(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        """Carry out ``commands`` as one transaction: all of them or none.

        Returns: what listing commands answered.
        Raises:  InternalFailure: nftables refused; the cause has its words.
        """
        request = msgspec.json.encode({"nftables": list(commands)})
        with self._lock:
            code = self._library.nft_run_cmd_from_buffer(self._context, request)
            output = self._text(self._library.nft_ctx_get_output_buffer)
            errors = self._text(self._library.nft_ctx_get_error_buffer)
        if code != 0:
            raise InternalFailure(f"nftables refused: {errors.decode(errors='replace').strip()}")
        answer: dict[str, list[dict[str, Any]]] = msgspec.json.decode(output) if output.strip() else {}
        return answer.get("nftables", [])

    def _text(self, getter: Any) -> bytes:
        address = getter(self._context)
        return ctypes.string_at(address) if address else b""
