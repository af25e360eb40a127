"""What type checkers see of the public classes: checked by mypy with the rest of the tests, nothing of it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import cove
from cove.container_process import ContainerProcess
from cove.file_io import FileIO, FileWatchEvent
from cove.io_streams import StreamReader
from cove.types import FileStat, TerminalLink


def blocking(sandbox: cove.Sandbox, text: ContainerProcess[str], raw: ContainerProcess[bytes]) -> None:
    assert_type(cove.App.lookup("app"), cove.App)
    assert_type(cove.Sandbox.create("true", timeout=5), cove.Sandbox)
    assert_type(list(cove.Sandbox.list()), list[cove.Sandbox])
    assert_type(sandbox.exec("true"), ContainerProcess[str])
    assert_type(sandbox.create_terminal("top"), TerminalLink)
    assert_type(sandbox.exec("true", text=False), ContainerProcess[bytes])
    assert_type(sandbox.process("id", text=False), ContainerProcess[bytes])
    assert_type(sandbox.processes(), list[ContainerProcess[str]])
    assert_type(sandbox.open("/x"), FileIO[str])
    assert_type(sandbox.open("/x", "rb"), FileIO[bytes])
    assert_type(sandbox.ls("/"), list[str])
    assert_type(sandbox.stat("/"), FileStat)
    assert_type(sandbox.poll(), int | None)
    assert_type(list(sandbox.watch("/")), list[FileWatchEvent])
    assert_type(sandbox.stdout, StreamReader[str])
    assert_type(text.stdout.read(), str)
    assert_type(raw.stdout.read(offset=5), bytes)
    assert_type(list(raw.stdout), list[bytes])
    assert_type(text.wait(), int)
    with sandbox.open("/x", "wb") as file:
        assert_type(file, FileIO[bytes])
        assert_type(file.read(), bytes)


async def asynchronous(sandbox: cove.Sandbox, raw: ContainerProcess[bytes]) -> None:
    assert_type(await cove.Sandbox.create.aio("true"), cove.Sandbox)
    assert_type([found async for found in cove.Sandbox.list.aio()], list[cove.Sandbox])
    assert_type(await sandbox.exec.aio("true"), ContainerProcess[str])
    assert_type(await sandbox.exec.aio("true", text=False), ContainerProcess[bytes])
    assert_type(await sandbox.ls.aio("/"), list[str])
    assert_type(await raw.stdout.read.aio(), bytes)
    assert_type([chunk async for chunk in raw.stdout], list[bytes])
    async with await sandbox.open.aio("/x") as file:
        assert_type(await file.readlines.aio(), list[str])


if TYPE_CHECKING:  # wrong calls are errors: mypy complains of an ignore that is not needed

    def wrong(sandbox: cove.Sandbox) -> None:
        sandbox.ls(5)  # type: ignore[arg-type]
        sandbox.mkdir("/x", parent=True)  # type: ignore[call-arg]
        sandbox.exec("true", text=False, bufsize=1)  # type: ignore[call-overload]
        sandbox.write  # type: ignore[attr-defined]  # noqa: B018  # looked up only
        cove.Sandbox.create(timeout="5")  # type: ignore[arg-type]
