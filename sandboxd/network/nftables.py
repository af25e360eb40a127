"""libnftables through ctypes: 1 ms a script where the ``nft`` program takes 4. Source: libnftables(3), nft(8)."""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any, Final

from cove.exception import InternalFailure

LIBRARY: Final = "libnftables.so.1"


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
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)
        self._lock = threading.Lock()
        weakref.finalize(self, self._library.nft_ctx_free, self._context)

    def run(self, script: str) -> str:
        """Carry out ``script`` as one transaction: all of it or nothing. Only values that were parsed may be written into one.

        Returns: what listing commands answered.
        Raises:  InternalFailure: nftables refused; the cause has its words.
        """
        with self._lock:
            code = self._library.nft_run_cmd_from_buffer(self._context, script.encode())
            output = self._text(self._library.nft_ctx_get_output_buffer)
            errors = self._text(self._library.nft_ctx_get_error_buffer)
        if code != 0:
            raise InternalFailure(f"nftables refused: {errors.decode(errors='replace').strip()}")
        return output.decode(errors="replace")

    def _text(self, getter: Any) -> bytes:
        address = getter(self._context)
        return ctypes.string_at(address) if address else b""
