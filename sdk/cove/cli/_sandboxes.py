"""Finding sandboxes for commands, and what commands tell of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from cove import _endings
from cove._async.app import _App
from cove._async.client import connection_of
from cove._async.sandbox import _Sandbox
from cove._transport.methods import PROCESS_LIST, SANDBOX_GET, SANDBOX_LIST
from cove.cli._show import when
from cove.exception import ConflictError, Error, InvalidError, NotFoundError
from cove.types import is_id
from cove.wire import common_pb2, control_pb2, data_pb2

_PAGE: Final = 500


def pairs(given: Sequence[str], *, what: str) -> dict[str, str]:
    """``["k=v", …]`` as a mapping.

    Raises:  InvalidError: one has no ``=`` or no key. Values stay out of the error: they may be secrets.
    """
    found = dict[str, str]()
    for item in given:
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise InvalidError(
                f"{what} {key[:80]!r} has no value." if key else f"A value of {what} has no key.", remedy=f"Write {what} key=value."
            )
        found[key] = value
    return found


async def find(reference: str) -> _Sandbox:
    """The sandbox that a user means by an id, by ``APP/NAME``, or by the name of a running one.

    Raises:
        NotFoundError: there is none.
        ConflictError: several Apps have a running sandbox of this name.
    """
    if is_id(reference, "sb"):
        return await _Sandbox.from_id(reference)
    app, slash, name = reference.partition("/")
    if slash:
        return await _Sandbox.from_name(app, name)
    found = [info async for info in list_() if info.name == reference]
    if not found:
        raise NotFoundError(f"There is no running sandbox {reference[:80]!r}.", remedy="`cove sandbox list` shows them.")
    if len(found) > 1:
        raise ConflictError(
            f"{len(found)} Apps have a running sandbox {reference[:80]!r}.", remedy="Say APP/NAME, or take its id from `cove sandbox list`."
        )
    return _Sandbox(connection_of(None), found[0])


async def list_(
    *, app: str | None = None, tags: Mapping[str, str] | None = None, include_stopped: bool = False
) -> AsyncIterator[control_pb2.SandboxInfo]:
    """Sandboxes of the environment, newest first.

    Args:    app: of this App only, by name.
    Raises:  NotFoundError: there is no such App.
    """
    connection = connection_of(None)
    request = control_pb2.SandboxListRequest(
        app_id=(await _App.lookup(app)).app_id if app else "",
        environment=connection.server.environment,
        tags=tags,
        include_stopped=include_stopped,
        limit=_PAGE,
    )
    while True:
        page = await connection.control.call(SANDBOX_LIST, request)
        for info in page.sandboxes:
            yield info
        if not page.next_cursor:
            return
        request.cursor = page.next_cursor


async def get(sandbox: _Sandbox) -> control_pb2.SandboxInfo:
    """What the server knows of it now."""
    return await connection_of(None).control.call(SANDBOX_GET, control_pb2.SandboxGetRequest(sandbox_id=sandbox.object_id))


async def processes(sandbox: _Sandbox, *, include_ended: bool) -> list[data_pb2.ProcessStatus]:
    """Its processes, oldest first."""
    request = data_pb2.ProcessListRequest(sandbox_id=sandbox.object_id, include_ended=include_ended)
    plane = connection_of(None).data_plane(sandbox.object_id)
    return sorted((await plane.call(PROCESS_LIST, request)).processes, key=lambda status: status.started_at)


async def terminate(references: Sequence[str], *, wait: bool) -> list[Error]:
    """End sandboxes, all at once. Returns the errors: one that cannot be ended does not keep the others alive."""
    return await _with_each(references, lambda sandbox: _terminate(sandbox, wait=wait))


async def pause(references: Sequence[str]) -> list[Error]:
    """Pause them; what went wrong."""
    return await _with_each(references, lambda sandbox: sandbox.pause())


async def resume(references: Sequence[str]) -> list[Error]:
    """Wake them; what went wrong."""
    return await _with_each(references, lambda sandbox: sandbox.resume())


async def _with_each(references: Sequence[str], act: Callable[[_Sandbox], Awaitable[None]]) -> list[Error]:
    """At once; one that fails does not keep the others."""
    failures: list[Error] = []

    async def act_on(reference: str) -> None:
        try:
            await act(await find(reference))
        except Error as error:
            failures.append(error)

    async with asyncio.TaskGroup() as group:
        for reference in references:
            group.create_task(act_on(reference))
    return failures


async def _terminate(sandbox: _Sandbox, *, wait: bool) -> None:
    await sandbox.terminate()
    if wait:
        with contextlib.suppress(*{ending.error for ending in _endings.ENDINGS.values()}):  # however it ended
            await sandbox.wait()


async def end_of(sandbox: _Sandbox) -> str:
    """Why it ended, in a sentence; empty while it runs, and where its main process simply ended."""
    result = (await get(sandbox)).status.result
    error = _endings.error_of(result, sandbox.object_id)
    return error.cause if error else ""


def facts(info: control_pb2.SandboxInfo) -> dict[str, Any]:
    """One sandbox for JSON. Times are Unix seconds; what is not yet known is null."""
    status = info.status
    ended = status.result.reason != common_pb2.END_REASON_UNSPECIFIED
    return {
        "sandbox_id": info.sandbox_id,
        "name": info.name or None,
        "app_id": info.app_id,
        "state": state(info),
        "returncode": status.result.exit_code if ended else None,
        "end_reason": _word(common_pb2.EndReason.Name(status.result.reason), "END_REASON_") if ended else None,
        "message": status.result.message or None,
        "created_at": when(info.created_at),
        "started_at": when(status.started_at),
        "expires_at": when(status.expires_at),
        "ended_at": when(status.result.ended_at),
        "task_id": info.task_id,
        "node_id": info.node_id or None,
        "tags": dict(sorted(info.tags.items())),
    }


def state(info: control_pb2.SandboxInfo) -> str:
    """``running``, ``paused`` and so on."""
    return "paused" if info.status.paused_at else _word(common_pb2.SandboxState.Name(info.status.state), "SANDBOX_STATE_")


def process_facts(status: data_pb2.ProcessStatus) -> dict[str, Any]:
    """One process for JSON. Bytes of its command that are not UTF-8 are replaced."""
    running = status.state == data_pb2.PROCESS_STATE_RUNNING
    return {
        "exec_id": status.exec_id,
        "pid": status.pid,
        "command": [argument.decode(errors="replace") for argument in status.argv],
        "state": _word(data_pb2.ProcessState.Name(status.state), "PROCESS_STATE_"),
        "returncode": None if running else status.exit_code,
        "pty": status.pty,
        "started_at": when(status.started_at),
        "ended_at": when(status.ended_at),
        "timeout_s": when(status.timeout_s),
        "stdout_bytes": status.stdout_bytes,
        "stderr_bytes": status.stderr_bytes,
    }


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
