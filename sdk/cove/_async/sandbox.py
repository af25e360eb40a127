"""Sandboxes: create them, find them again, run processes in them, wait for their end.

``create`` is as long as the list of what can be asked of a sandbox, and what each of it means.
"""

from __future__ import annotations

import builtins
import os
import warnings
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, overload

from cove import _egress, _endings, _spec
from cove._async import _changes, _tunnels
from cove._async._sandbox_files import Files
from cove._async._sandbox_network import Networking
from cove._async._sandbox_ports import Ports
from cove._async._sandbox_snapshots import Snapshots
from cove._async._sandbox_terminals import Terminals
from cove._async.app import _App
from cove._async.base import Exposed
from cove._async.client import _Client, connection_of
from cove._async.container_process import LINK_MARGIN_S, POLL_S, _ContainerProcess, local_terminal_size
from cove._async.image import _Image, reference_of, snapshot_image
from cove._async.io_streams import _StreamReader, _StreamWriter, check_buffering
from cove._async.proxy import _Proxy, proxy_name
from cove._async.secret import _Secret
from cove._outputs import Chunks, Lines
from cove._transport.connection import Connection
from cove._transport.methods import (
    PROCESS_GET,
    PROCESS_LIST,
    PROCESS_START,
    SANDBOX_CREATE,
    SANDBOX_DIFF,
    SANDBOX_GET,
    SANDBOX_GET_BY_NAME,
    SANDBOX_LIST,
    SANDBOX_SNAPSHOT_FILESYSTEM,
    SANDBOX_TAGS_GET,
    SANDBOX_TAGS_SET,
    SANDBOX_TERMINATE,
    SANDBOX_WAIT,
)
from cove.exception import DeprecationError, InvalidError, SandboxTerminatedError
from cove.stream_type import StreamType
from cove.types import MAIN_EXEC_ID, FileChange, check_name, new_id
from cove.wire import common_pb2, control_pb2, data_pb2, image_pb2

Path = str | os.PathLike[str]

LIST_PAGE: Final = 100
"""Sandboxes that one question for a list brings."""


class _Sandbox(Files, Networking, Ports, Snapshots, Terminals, Exposed):
    """A running sandbox. Like a process: it has a lifetime, an exit code and streams; further processes run in it by :meth:`exec`."""

    def __init__(self, connection: Connection, info: control_pb2.SandboxInfo, access: common_pb2.Access | None = None) -> None:
        super().__init__(connection, connection.data_plane(info.sandbox_id, access))
        self._info = info
        self._status = info.status
        self._stdout = _StreamReader(self._plane, MAIN_EXEC_ID, 1, Lines())
        self._stderr = _StreamReader(self._plane, MAIN_EXEC_ID, 2, Lines())
        self._stdin = _StreamWriter(self._plane, MAIN_EXEC_ID, offset=None)

    @staticmethod
    async def create(
        *args: str,
        app: _App | None = None,
        name: str | None = None,
        image: _Image | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
        network_file_systems: Mapping[Path, object] = MappingProxyType({}),
        timeout: int = 300,
        idle_timeout: int | None = None,
        on_idle: Literal["terminate", "pause"] = "terminate",
        on_timeout: Literal["terminate", "pause"] = "terminate",
        workdir: str | None = None,
        gpu: str | Sequence[str | None] | None = None,
        cloud: str | None = None,
        region: str | Sequence[str] | None = None,
        cpu: float | tuple[float, float] | None = None,
        memory: int | tuple[int, int] | None = None,
        block_network: bool = False,
        cidr_allowlist: Sequence[str] | None = None,
        domain_allowlist: Sequence[str] | None = None,
        record_network: bool = False,
        volumes: Mapping[Path, object] = MappingProxyType({}),
        pty: bool = False,
        encrypted_ports: Sequence[int] = (),
        h2_ports: Sequence[int] = (),
        unencrypted_ports: Sequence[int] = (),
        proxy: _Proxy | None = None,
        verbose: bool = False,
        experimental_options: Mapping[str, bool] | None = None,
        _experimental_enable_snapshot: bool = False,
        client: _Client | None = None,
        environment_name: str | None = None,
        pty_info: object = None,
        tags: Mapping[str, str] | None = None,
    ) -> _Sandbox:
        """Create a sandbox for code that is not trusted. Returns once it is placed; it comes up meanwhile.

        Args:
            args: command of the main process, run without a shell. Without one the image's own is run, and where there is none either the
                sandbox stays up until it is terminated or times out.
            app: the App it belongs to.
            name: unique among the running sandboxes of the App; fewer than 64 characters.
            image: the file system to start with, built now if it was not; Debian with Python when left out.
            env: environment variables; None values are left out.
            secrets: more of them; later ones win over earlier ones, ``env`` over all.
            timeout: lifetime in seconds, at most what the server allows: 24 hours unless its operator set another maximum.
            idle_timeout: end the sandbox after so many seconds in which no exec ran and nothing was written to its standard input.
            on_idle: ``"pause"``: it is paused then instead; see :meth:`pause`.
            on_timeout: ``"pause"``: at the end of its lifetime it is paused; when it is woken another lifetime begins.
            workdir: working directory of its processes.
            cpu: cores to reserve, or (reserved, most).
            memory: MiB to reserve, or (reserved, most); at its limit the sandbox is killed.
            block_network: no network but loopback.
            cidr_allowlist: ranges of addresses, like ``"192.0.2.0/24"``, that the sandbox may reach, and nothing else; any port.
            domain_allowlist: names, like ``"pypi.org"`` or ``"*.example.com"``, that it may reach beside those ranges. No other resolves.
            record_network: restrict nothing, and note what is used: :meth:`network_summary` makes an allowlist of it.
            proxy: all TCP connections leave through it, and nothing but TCP leaves. The lists above hold before that.
            pty: run the main process on a terminal.
            encrypted_ports: ports of servers inside that :meth:`tunnels` makes reachable from outside, network blocked or not.
            h2_ports: the same for servers that speak HTTP/2.
            unencrypted_ports: the same, also as plain TCP ports.
            verbose: log execs and file operations.
            client: instead of the App's.
            _experimental_enable_snapshot: accepted; snapshots can be taken of every sandbox.
            tags: see :meth:`set_tags`.
        Raises:
            AlreadyExistsError: a running sandbox of the App has this name.
            ResourceExhaustedError: no node has room.
            InvalidError: an argument makes no sense.
            UnimplementedError: not supported yet.
        """
        if environment_name is not None:
            warnings.warn("environment_name has no effect: a sandbox is where its App is", DeprecationError, stacklevel=2)
        _spec.refuse("Sandbox.create", gpu=gpu, cloud=cloud, region=region, volumes=volumes, network_file_systems=network_file_systems)
        _spec.refuse("Sandbox.create", experimental_options=experimental_options, pty_info=pty_info)
        network = _egress.policy(
            block_network=block_network,
            cidr_allowlist=cidr_allowlist,
            domain_allowlist=domain_allowlist,
            record_network=record_network,
            proxy=await proxy_name(proxy),
        )
        spec = common_pb2.SandboxSpec(
            command=_spec.command(args, what="Sandbox.create"),
            env=_spec.environment(env, [secret.variables for secret in secrets or ()]),
            workdir=workdir or "",
            timeout_s=_spec.whole_seconds(timeout, what="timeout", most=_spec.MAX_SECONDS),
            idle_timeout_s=_spec.whole_seconds(idle_timeout, what="idle_timeout", most=_spec.MAX_SECONDS),
            resources=_spec.resources(cpu, memory),
            network=network,
            pty=pty,
            verbose=verbose,
            ports=_tunnels.port_specs(encrypted_ports, unencrypted_ports, h2_ports),
            on_idle=_spec.end_action(on_idle, what="on_idle"),
            on_timeout=_spec.end_action(on_timeout, what="on_timeout"),
        )
        request = control_pb2.SandboxCreateRequest(
            idempotency_key=new_id("rq"), app_id=_app_id(app), name=_spec.sandbox_name(name), spec=spec, tags=_spec.tags(tags)
        )
        return await _create(connection_of(client or (app._client if app is not None else None)), request, image)

    @staticmethod
    async def from_id(sandbox_id: str, client: _Client | None = None) -> _Sandbox:
        """Find a sandbox by its id, running or not.

        Raises:  NotFoundError: there is none.
        """
        connection = connection_of(client)
        request = control_pb2.SandboxGetRequest(sandbox_id=sandbox_id)
        return _Sandbox(connection, await connection.control.call(SANDBOX_GET, request))

    @staticmethod
    async def from_name(app_name: str, name: str, *, environment_name: str | None = None, client: _Client | None = None) -> _Sandbox:
        """Find the running sandbox that has this name in a deployed App.

        Raises:  NotFoundError: none is running.
        """
        connection = connection_of(client)
        request = control_pb2.SandboxGetByNameRequest(
            app_name=check_name(app_name, what="App"),
            name=_spec.sandbox_name(name),
            environment=environment_name or connection.server.environment,
        )
        return _Sandbox(connection, await connection.control.call(SANDBOX_GET_BY_NAME, request))

    @staticmethod
    async def list(
        *, app_id: str | None = None, tags: Mapping[str, str] | None = None, client: _Client | None = None
    ) -> AsyncIterator[_Sandbox]:
        """The running sandboxes of an App or of the whole environment.

        Args:
            app_id: of the App; the environment when left out.
            tags: only sandboxes that have all of these.
        """
        connection = connection_of(client)
        request = control_pb2.SandboxListRequest(
            app_id=app_id or "", environment=connection.server.environment, tags=_spec.tags(tags), limit=LIST_PAGE
        )
        while True:
            page = await connection.control.call(SANDBOX_LIST, request)
            for info in page.sandboxes:
                yield _Sandbox(connection, info)
            if not page.next_cursor:
                return
            request.cursor = page.next_cursor

    @property
    def object_id(self) -> str:
        """Its id, for :meth:`from_id`."""
        return self._info.sandbox_id

    @property
    def task_id(self) -> str:
        """Id of its container."""
        return self._info.task_id

    @property
    def returncode(self) -> int | None:
        """The exit code: of the main process, 124 after a timeout, 137 when terminated; None as long as it is not known to have ended."""
        return self._status.result.exit_code if self._status.state == common_pb2.SANDBOX_STATE_STOPPED else None

    @property
    def stdout(self) -> _StreamReader[str]:
        """Standard output of the main process."""
        return self._stdout

    @property
    def stderr(self) -> _StreamReader[str]:
        """Standard error of the main process."""
        return self._stderr

    @property
    def stdin(self) -> _StreamWriter:
        """Standard input of the main process."""
        return self._stdin

    @property
    def paused(self) -> bool:
        """Whether it was paused when the server was last asked, by :meth:`hydrate` or :meth:`poll` for instance."""
        return self._status.paused_at > 0

    async def hydrate(self, client: _Client | None = None) -> _Sandbox:
        """Fetch what the server knows of it again. Seldom needed."""
        connection = self._connection if client is None else client.connection
        self._info = await connection.control.call(SANDBOX_GET, control_pb2.SandboxGetRequest(sandbox_id=self.object_id))
        self._status = self._info.status
        return self

    async def set_tags(self, tags: Mapping[str, str], *, client: _Client | None = None) -> None:
        """Replace its tags: pairs of strings, by which :meth:`list` finds it."""
        if client is not None:
            warnings.warn("client= of set_tags has no effect: give it to Sandbox.create", DeprecationError, stacklevel=2)
        request = control_pb2.SandboxTagsSetRequest(sandbox_id=self.object_id, tags=_spec.tags(tags))
        await self._connection.control.call(SANDBOX_TAGS_SET, request)

    async def get_tags(self) -> dict[str, str]:
        """Its tags, from the server."""
        request = control_pb2.SandboxTagsGetRequest(sandbox_id=self.object_id)
        return dict((await self._connection.control.call(SANDBOX_TAGS_GET, request)).tags)

    async def wait(self, raise_on_termination: bool = True) -> None:
        """Wait until it has stopped. An exit code other than 0 is no error: see :attr:`returncode`.

        Args:    raise_on_termination: False accepts that somebody terminated it.
        Raises:
            SandboxTimeoutError: it reached the end of its lifetime or of its idle time.
            SandboxTerminatedError: it was terminated.
            SandboxOutOfMemoryError: it reached its memory limit.
            RemoteError: it did not come up.
            InternalFailure: it was lost, by no fault of its own.
        """
        while self._status.state != common_pb2.SANDBOX_STATE_STOPPED:
            await self._ask(POLL_S)
        error = _endings.error_of(self._status.result, self.object_id)
        if error is None or (type(error) is SandboxTerminatedError and not raise_on_termination):
            return
        raise error

    async def poll(self) -> int | None:
        """The exit code if it has stopped, None while it runs."""
        if self._status.state != common_pb2.SANDBOX_STATE_STOPPED:
            await self._ask(0.0)
        return self.returncode

    async def snapshot_filesystem(self, timeout: int = 55) -> _Image:
        """Make an image of its file system as it is now. The sandbox stands still for a moment, and goes on.

        Args:    timeout: seconds that it may take.
        Returns: the image, which has its ``object_id``. It is kept until it is deleted.
        Raises:
            TimeoutError: it took longer; there is no image.
            ConflictError: code ``sandbox_ended``: the sandbox has stopped.
        """
        timeout_s = _spec.seconds(timeout, what="timeout")
        request = image_pb2.SandboxSnapshotFilesystemRequest(sandbox_id=self.object_id, idempotency_key=new_id("rq"), timeout_s=timeout_s)
        info = await self._connection.control.call(SANDBOX_SNAPSHOT_FILESYSTEM, request, deadline_s=timeout_s + LINK_MARGIN_S)
        return snapshot_image(info, self._connection)

    async def diff(self) -> builtins.list[FileChange]:
        """What has changed in its file system since it was created, sorted by path."""
        return await _changes.collect(self._connection, SANDBOX_DIFF, image_pb2.SandboxDiffRequest(sandbox_id=self.object_id))

    async def terminate(self) -> None:
        """End it. Returns at once: wait with ``wait(raise_on_termination=False)``. Does nothing if it has ended."""
        request = control_pb2.SandboxTerminateRequest(sandbox_id=self.object_id)
        await self._connection.control.call(SANDBOX_TERMINATE, request)

    @overload
    async def exec(
        self,
        *args: str,
        stdout: StreamType = StreamType.PIPE,
        stderr: StreamType = StreamType.PIPE,
        timeout: float | None = None,
        workdir: str | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
        text: Literal[True] = True,
        bufsize: Literal[-1, 1] = -1,
        pty: bool = False,
        _pty_info: object = None,
        pty_info: object = None,
        user: str | None = None,
    ) -> _ContainerProcess[str]: ...

    @overload
    async def exec(
        self,
        *args: str,
        stdout: StreamType = StreamType.PIPE,
        stderr: StreamType = StreamType.PIPE,
        timeout: float | None = None,
        workdir: str | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
        text: Literal[False],
        bufsize: Literal[-1] = -1,
        pty: bool = False,
        _pty_info: object = None,
        pty_info: object = None,
        user: str | None = None,
    ) -> _ContainerProcess[bytes]: ...

    async def exec(
        self,
        *args: str,
        stdout: StreamType = StreamType.PIPE,
        stderr: StreamType = StreamType.PIPE,
        timeout: float | None = None,
        workdir: str | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
        text: bool = True,
        bufsize: Literal[-1, 1] = -1,
        pty: bool = False,
        _pty_info: object = None,
        pty_info: object = None,
        user: str | None = None,
    ) -> _ContainerProcess[str] | _ContainerProcess[bytes]:
        """Start a process. Returns when it runs; no shell is involved.

        Args:
            args: the command: a program, looked up in the ``PATH`` of its environment, and its arguments.
            stdout, stderr: what the client does with its output, see :class:`cove.stream_type.StreamType`.
            timeout: seconds after which it is killed, with everything it has started.
            workdir: its working directory; the sandbox's when left out.
            env: environment variables on top of the sandbox's; None values are left out.
            secrets: more of them, below ``env``.
            text: whether its output is text (UTF-8) or bytes.
            bufsize: 1 asks for lines, which text has anyway.
            pty: run it on a terminal, which mixes stdout and stderr.
            user: run it as this user: ``name``, ``uid``, ``name:group`` or ``uid:gid``; root when left out.
        Raises:
            InvalidError: code ``exec_failed``: there is no such program, directory or user.
            ConflictError: code ``sandbox_ended``: the sandbox has stopped.
        """
        _spec.refuse("Sandbox.exec", _pty_info=_pty_info, pty_info=pty_info)
        check_buffering(text, bufsize)
        if not args:
            raise InvalidError("There is nothing to execute.", remedy="Pass a program and its arguments.")
        request = data_pb2.ProcessStartRequest(
            sandbox_id=self.object_id,
            exec_id=new_id("ex"),
            argv=_spec.command(args, what="Sandbox.exec"),
            env=_spec.environment(env, [secret.variables for secret in secrets or ()]),
            workdir=workdir or "",
            user=user or "",
            pty=local_terminal_size() if pty else None,
            timeout_s=_spec.seconds(timeout, what="timeout"),
        )
        status = await self._plane.call(PROCESS_START, request)
        process: _ContainerProcess[str] | _ContainerProcess[bytes]
        if text:
            process = _ContainerProcess(self._plane, status, Lines, stdout=stdout, stderr=stderr)
        else:
            process = _ContainerProcess(self._plane, status, Chunks, stdout=stdout, stderr=stderr)
        process._print(self._connection)
        return process

    async def processes(self) -> builtins.list[_ContainerProcess[str]]:
        """The processes that exec has started and that are running, and the main process."""
        listing = await self._plane.call(PROCESS_LIST, data_pb2.ProcessListRequest(sandbox_id=self.object_id))
        return [_ContainerProcess(self._plane, status, Lines) for status in listing.processes]

    @overload
    async def process(self, exec_id: str, text: Literal[True] = True) -> _ContainerProcess[str]: ...

    @overload
    async def process(self, exec_id: str, text: Literal[False]) -> _ContainerProcess[bytes]: ...

    async def process(self, exec_id: str, text: bool = True) -> _ContainerProcess[str] | _ContainerProcess[bytes]:
        """Attach to a process again: its output from the start, its input from where it was written to last.

        Args:
            exec_id: ``exec_id`` of the process; ``"main"`` is the sandbox's own.
            text: whether its output is text (UTF-8) or bytes.
        Raises:
            NotFoundError: there is none.
        """
        request = data_pb2.ProcessGetRequest(sandbox_id=self.object_id, exec_id=exec_id)
        status = await self._plane.call(PROCESS_GET, request)
        return _ContainerProcess(self._plane, status, Lines) if text else _ContainerProcess(self._plane, status, Chunks)

    async def _ask(self, timeout_s: float) -> None:
        request = control_pb2.SandboxWaitRequest(sandbox_id=self.object_id, timeout_s=timeout_s)
        self._status = await self._connection.control.call(SANDBOX_WAIT, request, deadline_s=timeout_s + LINK_MARGIN_S)


async def _create(connection: Connection, request: control_pb2.SandboxCreateRequest, image: _Image | None) -> _Sandbox:
    request.spec.image.CopyFrom(await reference_of(image, connection, request.app_id))
    answer = await connection.control.call(SANDBOX_CREATE, request)
    info = control_pb2.SandboxInfo(
        sandbox_id=answer.sandbox_id, task_id=answer.task_id, app_id=request.app_id, name=request.name, tags=request.tags
    )
    return _Sandbox(connection, info, answer.access if answer.HasField("access") else None)


def _app_id(app: _App | None) -> str:
    if app is None or app.app_id is None:
        raise InvalidError(
            "A sandbox needs an App." if app is None else f"The App {app.description!r} was not looked up and has no id.",
            remedy='Pass app=cove.App.lookup("my-app", create_if_missing=True).',
        )
    return app.app_id
