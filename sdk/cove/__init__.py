"""cove: secure sandboxes on machines you own.

::

    import cove

    app = cove.App.lookup("my-app", create_if_missing=True)
    sandbox = cove.Sandbox.create(app=app)
    print(sandbox.exec("python", "-c", "print('hello')").stdout.read())
    sandbox.terminate()

Names are loaded on first use, so that ``import cove`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from cove._version import __version__

if TYPE_CHECKING:
    from cove import config, container_process, exception, file_io, io_streams, stream_type
    from cove._printing import enable_output
    from cove._runtime import is_local
    from cove.app import App
    from cove.client import Client
    from cove.exception import Error
    from cove.file_pattern_matcher import FilePatternMatcher
    from cove.image import Image
    from cove.proxy import Proxy
    from cove.sandbox import Sandbox
    from cove.secret import Secret
    from cove.snapshot import SandboxSnapshot
    from cove.tunnel import Tunnel, forward

_HOMES: Final = {
    "App": "cove.app",
    "Client": "cove.client",
    "Error": "cove.exception",
    "FilePatternMatcher": "cove.file_pattern_matcher",
    "Image": "cove.image",
    "Proxy": "cove.proxy",
    "Sandbox": "cove.sandbox",
    "SandboxSnapshot": "cove.snapshot",
    "Secret": "cove.secret",
    "Tunnel": "cove.tunnel",
    "enable_output": "cove._printing",
    "forward": "cove.tunnel",
    "is_local": "cove._runtime",
}
"""Public name to the module that has it."""

_MODULES: Final = ("config", "container_process", "exception", "file_io", "io_streams", "stream_type")

__all__ = [
    "App",
    "Client",
    "Error",
    "FilePatternMatcher",
    "Image",
    "Proxy",
    "Sandbox",
    "SandboxSnapshot",
    "Secret",
    "Tunnel",
    "__version__",
    "config",
    "container_process",
    "enable_output",
    "exception",
    "file_io",
    "forward",
    "io_streams",
    "is_local",
    "stream_type",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"cove.{name}")
    raise AttributeError(f"module 'cove' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
