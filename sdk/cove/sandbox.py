# Written by `make facade` from cove/_async/sandbox.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
"""Sandboxes: create them, find them again, run processes in them, wait for their end.

``create`` is as long as the list of what can be asked of a sandbox, and what each of it means.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from cove._async.app import _App
from cove._async.client import _Client
from cove._async.image import _Image
from cove._async.proxy import _Proxy
from cove._async.sandbox import _Sandbox
from cove._async.secret import _Secret
from cove._async.snapshot import _SandboxSnapshot
from cove._dual import Face, Iteration, function, iteration, iteration_function, method, unwrap, unwrap_all, wrap, wrap_all
from cove.stream_type import StreamType

if TYPE_CHECKING:
    import builtins
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any, Literal, Protocol, overload

    from _typeshed import OpenBinaryMode, OpenTextMode

    from cove._async._sandbox_files import Path
    from cove.app import App
    from cove.client import Client
    from cove.container_process import ContainerProcess
    from cove.file_io import FileIO
    from cove.image import Image
    from cove.io_streams import StreamReader, StreamWriter
    from cove.proxy import Proxy
    from cove.secret import Secret
    from cove.snapshot import SandboxSnapshot
    from cove.tunnel import SandboxConnectCredentials, Tunnel
    from cove.types import FileChange, FileStat, FileWatchEvent, FileWatchEventType, NetworkRecord, NetworkSummary, TerminalLink

    class _Sandbox_exec(Protocol):
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

        @overload
        def __call__(
            self,
            *args: str,
            stdout: StreamType = StreamType.PIPE,
            stderr: StreamType = StreamType.PIPE,
            timeout: float | None = None,
            workdir: str | None = None,
            env: Mapping[str, str | None] | None = None,
            secrets: Collection[Secret] | None = None,
            text: Literal[True] = True,
            bufsize: Literal[-1, 1] = -1,
            pty: bool = False,
            _pty_info: object = None,
            pty_info: object = None,
            user: str | None = None,
        ) -> ContainerProcess[str]: ...

        @overload
        def __call__(
            self,
            *args: str,
            stdout: StreamType = StreamType.PIPE,
            stderr: StreamType = StreamType.PIPE,
            timeout: float | None = None,
            workdir: str | None = None,
            env: Mapping[str, str | None] | None = None,
            secrets: Collection[Secret] | None = None,
            text: Literal[False],
            bufsize: Literal[-1] = -1,
            pty: bool = False,
            _pty_info: object = None,
            pty_info: object = None,
            user: str | None = None,
        ) -> ContainerProcess[bytes]: ...

        @overload
        async def aio(
            self,
            *args: str,
            stdout: StreamType = StreamType.PIPE,
            stderr: StreamType = StreamType.PIPE,
            timeout: float | None = None,
            workdir: str | None = None,
            env: Mapping[str, str | None] | None = None,
            secrets: Collection[Secret] | None = None,
            text: Literal[True] = True,
            bufsize: Literal[-1, 1] = -1,
            pty: bool = False,
            _pty_info: object = None,
            pty_info: object = None,
            user: str | None = None,
        ) -> ContainerProcess[str]: ...

        @overload
        async def aio(
            self,
            *args: str,
            stdout: StreamType = StreamType.PIPE,
            stderr: StreamType = StreamType.PIPE,
            timeout: float | None = None,
            workdir: str | None = None,
            env: Mapping[str, str | None] | None = None,
            secrets: Collection[Secret] | None = None,
            text: Literal[False],
            bufsize: Literal[-1] = -1,
            pty: bool = False,
            _pty_info: object = None,
            pty_info: object = None,
            user: str | None = None,
        ) -> ContainerProcess[bytes]: ...

    class _Sandbox_process(Protocol):
        """Attach to a process again: its output from the start, its input from where it was written to last.

        Args:
            exec_id: ``exec_id`` of the process; ``"main"`` is the sandbox's own.
            text: whether its output is text (UTF-8) or bytes.
        Raises:
            NotFoundError: there is none.
        """

        @overload
        def __call__(self, exec_id: str, text: Literal[True] = True) -> ContainerProcess[str]: ...

        @overload
        def __call__(self, exec_id: str, text: Literal[False]) -> ContainerProcess[bytes]: ...

        @overload
        async def aio(self, exec_id: str, text: Literal[True] = True) -> ContainerProcess[str]: ...

        @overload
        async def aio(self, exec_id: str, text: Literal[False]) -> ContainerProcess[bytes]: ...

    class _Sandbox_open(Protocol):
        """Open a file in the sandbox, as the builtin ``open`` does here.

        Args:
            path: absolute, or relative to the sandbox's working directory.
            mode: as for the builtin.
        Raises:
            OSError: as the builtin ``open`` raises it (FileNotFoundError and so on).
        """

        @overload
        def __call__(self, path: Path, mode: OpenTextMode = "r") -> FileIO[str]: ...

        @overload
        def __call__(self, path: Path, mode: OpenBinaryMode) -> FileIO[bytes]: ...

        @overload
        async def aio(self, path: Path, mode: OpenTextMode = "r") -> FileIO[str]: ...

        @overload
        async def aio(self, path: Path, mode: OpenBinaryMode) -> FileIO[bytes]: ...


class Sandbox(Face):
    """A running sandbox. Like a process: it has a lifetime, an exit code and streams; further processes run in it by :meth:`exec`."""

    __slots__ = ()
    _impl: _Sandbox

    @staticmethod
    @function
    async def create(
        *args: str,
        app: App | None = None,
        name: str | None = None,
        image: Image | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
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
        proxy: Proxy | None = None,
        verbose: bool = False,
        experimental_options: Mapping[str, bool] | None = None,
        _experimental_enable_snapshot: bool = False,
        client: Client | None = None,
        environment_name: str | None = None,
        pty_info: object = None,
        tags: Mapping[str, str] | None = None,
    ) -> Sandbox:
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
        result: Sandbox = wrap(
            await _Sandbox.create(
                *args,
                app=unwrap(app, _App),
                name=name,
                image=unwrap(image, _Image),
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                network_file_systems=network_file_systems,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_idle=on_idle,
                on_timeout=on_timeout,
                workdir=workdir,
                gpu=gpu,
                cloud=cloud,
                region=region,
                cpu=cpu,
                memory=memory,
                block_network=block_network,
                cidr_allowlist=cidr_allowlist,
                domain_allowlist=domain_allowlist,
                record_network=record_network,
                volumes=volumes,
                pty=pty,
                encrypted_ports=encrypted_ports,
                h2_ports=h2_ports,
                unencrypted_ports=unencrypted_ports,
                proxy=unwrap(proxy, _Proxy),
                verbose=verbose,
                experimental_options=experimental_options,
                _experimental_enable_snapshot=_experimental_enable_snapshot,
                client=unwrap(client, _Client),
                environment_name=environment_name,
                pty_info=pty_info,
                tags=tags,
            )
        )
        return result

    @staticmethod
    @function
    async def from_id(sandbox_id: str, client: Client | None = None) -> Sandbox:
        """Find a sandbox by its id, running or not.

        Raises:  NotFoundError: there is none.
        """
        result: Sandbox = wrap(await _Sandbox.from_id(sandbox_id, unwrap(client, _Client)))
        return result

    @staticmethod
    @function
    async def from_name(app_name: str, name: str, *, environment_name: str | None = None, client: Client | None = None) -> Sandbox:
        """Find the running sandbox that has this name in a deployed App.

        Raises:  NotFoundError: none is running.
        """
        result: Sandbox = wrap(await _Sandbox.from_name(app_name, name, environment_name=environment_name, client=unwrap(client, _Client)))
        return result

    @staticmethod
    @iteration_function
    def list(*, app_id: str | None = None, tags: Mapping[str, str] | None = None, client: Client | None = None) -> Iteration[Sandbox]:
        """The running sandboxes of an App or of the whole environment.

        Args:
            app_id: of the App; the environment when left out.
            tags: only sandboxes that have all of these.
        """
        return Iteration(_Sandbox.list(app_id=app_id, tags=tags, client=unwrap(client, _Client)), wrapped=True)

    @property
    def object_id(self) -> str:
        """Its id, for :meth:`from_id`."""
        return self._impl.object_id

    @property
    def task_id(self) -> str:
        """Id of its container."""
        return self._impl.task_id

    @property
    def returncode(self) -> int | None:
        """The exit code: of the main process, 124 after a timeout, 137 when terminated; None as long as it is not known to have ended."""
        return self._impl.returncode

    @property
    def stdout(self) -> StreamReader[str]:
        """Standard output of the main process."""
        result: StreamReader[str] = wrap(self._impl.stdout)
        return result

    @property
    def stderr(self) -> StreamReader[str]:
        """Standard error of the main process."""
        result: StreamReader[str] = wrap(self._impl.stderr)
        return result

    @property
    def stdin(self) -> StreamWriter:
        """Standard input of the main process."""
        result: StreamWriter = wrap(self._impl.stdin)
        return result

    @property
    def paused(self) -> bool:
        """Whether it was paused when the server was last asked, by :meth:`hydrate` or :meth:`poll` for instance."""
        return self._impl.paused

    @method
    async def hydrate(self, client: Client | None = None) -> Sandbox:
        """Fetch what the server knows of it again. Seldom needed."""
        result: Sandbox = wrap(await self._impl.hydrate(unwrap(client, _Client)))
        return result

    @method
    async def set_tags(self, tags: Mapping[str, str], *, client: Client | None = None) -> None:
        """Replace its tags: pairs of strings, by which :meth:`list` finds it."""
        await self._impl.set_tags(tags, client=unwrap(client, _Client))

    @method
    async def get_tags(self) -> dict[str, str]:
        """Its tags, from the server."""
        return await self._impl.get_tags()

    @method
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
        await self._impl.wait(raise_on_termination)

    @method
    async def poll(self) -> int | None:
        """The exit code if it has stopped, None while it runs."""
        return await self._impl.poll()

    @method
    async def snapshot_filesystem(self, timeout: int = 55) -> Image:
        """Make an image of its file system as it is now. The sandbox stands still for a moment, and goes on.

        Args:    timeout: seconds that it may take.
        Returns: the image, which has its ``object_id``. It is kept until it is deleted.
        Raises:
            TimeoutError: it took longer; there is no image.
            ConflictError: code ``sandbox_ended``: the sandbox has stopped.
        """
        result: Image = wrap(await self._impl.snapshot_filesystem(timeout))
        return result

    @method
    async def diff(self) -> builtins.list[FileChange]:
        """What has changed in its file system since it was created, sorted by path."""
        return await self._impl.diff()

    @method
    async def terminate(self) -> None:
        """End it. Returns at once: wait with ``wait(raise_on_termination=False)``. Does nothing if it has ended."""
        await self._impl.terminate()

    if TYPE_CHECKING:
        exec: _Sandbox_exec
    else:

        @method
        async def exec(
            self,
            *args: str,
            stdout: StreamType = StreamType.PIPE,
            stderr: StreamType = StreamType.PIPE,
            timeout: float | None = None,
            workdir: str | None = None,
            env: Mapping[str, str | None] | None = None,
            secrets: Collection[Secret] | None = None,
            text: bool = True,
            bufsize: Literal[-1, 1] = -1,
            pty: bool = False,
            _pty_info: object = None,
            pty_info: object = None,
            user: str | None = None,
        ) -> ContainerProcess[str] | ContainerProcess[bytes]:
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
            result: ContainerProcess[str] | ContainerProcess[bytes] = wrap(
                await self._impl.exec(
                    *args,
                    stdout=stdout,
                    stderr=stderr,
                    timeout=timeout,
                    workdir=workdir,
                    env=env,
                    secrets=unwrap_all(secrets, _Secret),
                    text=text,
                    bufsize=bufsize,
                    pty=pty,
                    _pty_info=_pty_info,
                    pty_info=pty_info,
                    user=user,
                )
            )
            return result

    @method
    async def processes(self) -> builtins.list[ContainerProcess[str]]:
        """The processes that exec has started and that are running, and the main process."""
        result: builtins.list[ContainerProcess[str]] = wrap_all(await self._impl.processes())
        return result

    if TYPE_CHECKING:
        process: _Sandbox_process
    else:

        @method
        async def process(self, exec_id: str, text: bool = True) -> ContainerProcess[str] | ContainerProcess[bytes]:
            """Attach to a process again: its output from the start, its input from where it was written to last.

            Args:
                exec_id: ``exec_id`` of the process; ``"main"`` is the sandbox's own.
                text: whether its output is text (UTF-8) or bytes.
            Raises:
                NotFoundError: there is none.
            """
            result: ContainerProcess[str] | ContainerProcess[bytes] = wrap(await self._impl.process(exec_id, text))
            return result

    if TYPE_CHECKING:
        open: _Sandbox_open
    else:

        @method
        async def open(self, path: Path, mode: OpenTextMode | OpenBinaryMode = "r") -> FileIO[str] | FileIO[bytes]:
            """Open a file in the sandbox, as the builtin ``open`` does here.

            Args:
                path: absolute, or relative to the sandbox's working directory.
                mode: as for the builtin.
            Raises:
                OSError: as the builtin ``open`` raises it (FileNotFoundError and so on).
            """
            result: FileIO[str] | FileIO[bytes] = wrap(await self._impl.open(path, mode))
            return result

    @method
    async def ls(self, path: Path) -> builtins.list[str]:
        """Names in a directory, sorted.

        Raises:  OSError: as ``os.listdir``.
        """
        return await self._impl.ls(path)

    @method
    async def mkdir(self, path: Path, parents: bool = False) -> None:
        """Make a directory.

        Args:    parents: make missing parents too, and accept that it exists.
        Raises:  OSError: as ``os.mkdir``.
        """
        await self._impl.mkdir(path, parents)

    @method
    async def rm(self, path: Path, recursive: bool = False) -> None:
        """Remove a file or an empty directory.

        Args:    recursive: a directory with everything in it. Symbolic links are removed, never followed.
        Raises:  OSError: as ``os.remove``.
        """
        await self._impl.rm(path, recursive)

    @method
    async def stat(self, path: Path, follow: bool = True) -> FileStat:
        """What kind of file it is, how large, whose.

        Args:    follow: follow a symbolic link.
        Raises:  OSError: as ``os.stat``.
        """
        return await self._impl.stat(path, follow)

    @method
    async def rename(self, source: Path, target: Path) -> None:
        """Rename a file or directory inside the sandbox, replacing a file of that name.

        Raises:  OSError: as ``os.replace``.
        """
        await self._impl.rename(source, target)

    @iteration
    def watch(
        self,
        path: Path,
        filter: builtins.list[FileWatchEventType] | None = None,
        recursive: bool | None = None,
        timeout: float | None = None,
    ) -> Iteration[FileWatchEvent]:
        """Watch a file or a directory for changes.

        Args:
            filter: only events of these types.
            recursive: everything below the directory too.
            timeout: seconds after which the iteration ends.
        Raises:
            OSError: nothing there to watch.
        """
        return Iteration(self._impl.watch(path, filter, recursive, timeout), wrapped=False)

    @method
    async def upload(self, local: Path, remote: Path) -> None:
        """Copy a local file or directory of any size into the sandbox.

        Args:
            local: a file, or a directory, which is copied with everything in it.
            remote: what it will be called there; parents are made. An existing directory is merged into.
        Raises:
            OSError: of either side.
        """
        await self._impl.upload(local, remote)

    @method
    async def download(self, remote: Path, local: Path) -> None:
        """Copy a file or directory of any size out of the sandbox. What comes is written below ``local`` and nowhere else.

        Args:
            remote: a file, or a directory, which is copied with everything in it.
            local: what it will be called here; its parent must exist. An existing directory is merged into.
        Raises:
            OSError: of either side.
            FilesystemExecutionError: the sandbox sent something that does not belong into the directory; what came before it stays.
        """
        await self._impl.download(remote, local)

    @method
    async def update_network(
        self,
        *,
        block_network: bool = False,
        cidr_allowlist: Sequence[str] | None = None,
        domain_allowlist: Sequence[str] | None = None,
        record_network: bool = False,
        proxy: Proxy | None = None,
    ) -> None:
        """Replace what the running sandbox may reach; without arguments that is everything that any sandbox may.

        When it returns the new policy holds, and connections that it does not allow are cut. The arguments are those of :meth:`create`.

        Raises:
            InvalidError: an entry is malformed, or the arguments contradict each other.
            ConflictError: the sandbox has ended, or was created with ``block_network``.
        """
        await self._impl.update_network(
            block_network=block_network,
            cidr_allowlist=cidr_allowlist,
            domain_allowlist=domain_allowlist,
            record_network=record_network,
            proxy=unwrap(proxy, _Proxy),
        )

    @iteration
    def network_log(self, *, follow: bool = False) -> Iteration[NetworkRecord]:
        """What the sandbox has reached and was refused, the latest change last; also after its end, as long as its output is kept.

        Args:    follow: go on until the sandbox ends. A record whose count has grown comes again.
        """
        return Iteration(self._impl.network_log(follow=follow), wrapped=False)

    @method
    async def network_summary(self) -> NetworkSummary:
        """The policy in force, and the smallest lists that permit what the sandbox has reached so far."""
        return await self._impl.network_summary()

    @method
    async def tunnels(self, timeout: int = 50) -> dict[int, Tunnel]:
        """Its tunnels by port: those of ``Sandbox.create`` and of :meth:`open_port`. Waits until the sandbox runs.

        They can be connected to from then on; whether anything answers is up to the servers inside.

        Args:    timeout: seconds to wait.
        Raises:
            SandboxTimeoutError: it did not run in time.
            ConflictError: code ``sandbox_ended``: it has stopped.
        """
        return await self._impl.tunnels(timeout)

    @method
    async def open_port(self, port: int, *, unencrypted: bool = False, h2_enabled: bool = False, timeout: int = 50) -> Tunnel:
        """Open a tunnel to one more port of a running sandbox; the one that is there, if it is open in this way.

        Args:
            unencrypted: as a plain TCP port, too.
            h2_enabled: for a server that speaks HTTP/2.
            timeout: seconds to wait until the sandbox runs.
        Raises:
            ConflictError: it is open in another way, or the sandbox has stopped.
            SandboxTimeoutError: it did not run in time.
        """
        return await self._impl.open_port(port, unencrypted=unencrypted, h2_enabled=h2_enabled, timeout=timeout)

    @method
    async def close_port(self, port: int) -> None:
        """Close the tunnel to a port, and with it every connection through it. Does nothing if there is none."""
        await self._impl.close_port(port)

    @method
    async def create_connect_token(
        self, user_metadata: str | Mapping[str, Any] | None = None, *, expires_in: int | None = None
    ) -> SandboxConnectCredentials:
        """Let somebody speak HTTP and WebSocket to the server on port 8080 of the sandbox.

        The server gets every request with the header ``X-Verified-User-Data``, which nobody outside can set or change.

        Args:
            user_metadata: the value of that header: a dict is sent as JSON, text as it is; fewer than 512 characters.
            expires_in: seconds; as long as the sandbox when left out.
        Raises:
            InvalidError: the metadata is no JSON or too long.
            ConflictError: code ``sandbox_ended``: it has stopped.
        """
        return await self._impl.create_connect_token(user_metadata, expires_in=expires_in)

    @method
    async def revoke_connect_token(self, token: str | SandboxConnectCredentials) -> None:
        """Make a connect token worthless at once; connections that it opened are broken off.

        Args:    token: the credentials, or their ``token_id``.
        Raises:  NotFoundError: there is no such token.
        """
        await self._impl.revoke_connect_token(token)

    @staticmethod
    @function
    async def from_snapshot(
        snapshot: SandboxSnapshot,
        *,
        app: App | None = None,
        name: str | None = None,
        timeout: int | None = None,
        idle_timeout: int | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        block_network: bool | None = None,
        cidr_allowlist: Sequence[str] | None = None,
        domain_allowlist: Sequence[str] | None = None,
        record_network: bool = False,
        encrypted_ports: Sequence[int] | None = None,
        h2_ports: Sequence[int] | None = None,
        unencrypted_ports: Sequence[int] | None = None,
        proxy: Proxy | None = None,
        tags: Mapping[str, str] | None = None,
        client: Client | None = None,
    ) -> Sandbox:
        """Create a sandbox that goes on where a snapshot was taken, with its memory, processes and files. Returns once it is placed.

        What is left out is as the snapshot's sandbox had it; docs/fork-contract.md tells what is new in every case.

        Args:
            app: the App it belongs to.
            name: unique among the running sandboxes of the App.
            timeout: lifetime in seconds, which begins now.
            idle_timeout: as for :meth:`create`.
            env: environment variables of processes that are started from now on, on top of what it had; None values are left out.
            secrets: more of them, below ``env``.
            block_network: True for no network but loopback, False for all of it.
            cidr_allowlist, domain_allowlist: what it may reach, as for :meth:`create`.
            record_network: as for :meth:`create`.
            encrypted_ports, h2_ports, unencrypted_ports: if one is given, the ports of all three are these, and no other. In any case its
                tunnels are its own.
            proxy: another one than it had. The one that it had is kept otherwise, also where the lists above change.
            tags: see :meth:`set_tags`.
            client: instead of the snapshot's.
        Raises:
            NotFoundError: there is no such snapshot (any more).
            AlreadyExistsError: a running sandbox of the App has this name.
            ResourceExhaustedError: no node that can restore it has room; it says why.
            ConflictError: its node cannot restore it; it says why.
        """
        result: Sandbox = wrap(
            await _Sandbox.from_snapshot(
                unwrap(snapshot, _SandboxSnapshot),
                app=unwrap(app, _App),
                name=name,
                timeout=timeout,
                idle_timeout=idle_timeout,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                block_network=block_network,
                cidr_allowlist=cidr_allowlist,
                domain_allowlist=domain_allowlist,
                record_network=record_network,
                encrypted_ports=encrypted_ports,
                h2_ports=h2_ports,
                unencrypted_ports=unencrypted_ports,
                proxy=unwrap(proxy, _Proxy),
                tags=tags,
                client=unwrap(client, _Client),
            )
        )
        return result

    @staticmethod
    @function
    async def _experimental_from_snapshot(snapshot: SandboxSnapshot, client: Client | None = None) -> Sandbox:
        """:meth:`from_snapshot` without options."""
        result: Sandbox = wrap(await _Sandbox._experimental_from_snapshot(unwrap(snapshot, _SandboxSnapshot), unwrap(client, _Client)))
        return result

    @method
    async def snapshot(self, ttl: float | None = None, timeout: float = 120) -> SandboxSnapshot:
        """Take a snapshot of its memory, processes and files. The sandbox stands still for a moment, and goes on.

        Its connections to the outside are cut, as docs/fork-contract.md has it.

        Args:
            ttl: seconds after which it goes by itself; it is kept until it is deleted when left out.
            timeout: seconds that it may take, at most 600.
        Raises:
            ConflictError: code ``sandbox_ended``: the sandbox has stopped. Without it: its state cannot be written; it says why.
            ServiceError: it took longer; there is no snapshot.
        """
        result: SandboxSnapshot = wrap(await self._impl.snapshot(ttl, timeout))
        return result

    @method
    async def _experimental_snapshot(self) -> SandboxSnapshot:
        """:meth:`snapshot` without options."""
        result: SandboxSnapshot = wrap(await self._impl._experimental_snapshot())
        return result

    @method
    async def pause(self, timeout: float = 120) -> None:
        """Write its memory to its node's disk and free it. It keeps its id, its files, its processes and what they are doing.

        Whatever needs it wakes it: an exec, a file call, a connection to one of its ports; that waits, and then goes on. Its lifetime
        stands still meanwhile. Connections that are open are cut, as docs/fork-contract.md has it. Does nothing if it is paused.

        Args:    timeout: seconds that it may take, at most 600.
        Raises:
            ConflictError: code ``sandbox_ended``: the sandbox has stopped. Without it: its state cannot be written; it says why, and the
                sandbox goes on.
            ResourceExhaustedError: its node's disk has no room.
        """
        await self._impl.pause(timeout)

    @method
    async def resume(self, timeout: float = 120) -> None:
        """Wake it if it is paused. Seldom needed: whatever needs it does.

        Args:    timeout: seconds that it may take, at most 600.
        Raises:  ResourceExhaustedError: its node has no room for it now; try again. DataLossError: what was written is damaged.
        """
        await self._impl.resume(timeout)

    @method
    async def fork(self, n: int = 1, *, timeout: float = 120) -> builtins.list[Sandbox]:
        """Create ``n`` sandboxes that go on from where this one is now; this one goes on, too. All of them or none.

        Args:
            n: how many, at most 100.
            timeout: seconds that the snapshot may take; see :meth:`snapshot`.
        Raises:
            ResourceExhaustedError: there is no room for all of them.
            Error: as for :meth:`snapshot` and :meth:`from_snapshot`.
        """
        result: builtins.list[Sandbox] = wrap_all(await self._impl.fork(n, timeout=timeout))
        return result

    @method
    async def create_terminal(self, *args: str, workdir: str | None = None, user: str | None = None) -> TerminalLink:
        """Make a link that opens a terminal in a web browser, once and within two minutes.

        The command starts when the link is opened. It is hung up when the browser stays away for long; see docs/networking.md.

        Args:
            args: the command, run without a shell; ``/bin/bash`` when left out.
            workdir: its working directory; the sandbox's when left out.
            user: run it as this user, as :meth:`exec` takes it; root when left out.
        Raises:
            ConflictError: code ``sandbox_ended``: the sandbox has stopped.
            ResourceExhaustedError: it has too many terminals.
        """
        return await self._impl.create_terminal(*args, workdir=workdir, user=user)


__all__ = ["Sandbox"]
