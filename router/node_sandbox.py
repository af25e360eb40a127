"""The data plane of one sandbox, for the router's own use: what builds and web terminals do in it."""

from __future__ import annotations

import errno
import stat
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_from_bytes

import aiohttp
import grpc
from google.protobuf.message import Message
from yarl import URL

from cove.exception import ConnectionError, Error, FilesystemExecutionError, RequestSizeError
from cove.types import SandboxId, new_id
from cove.wire import data_pb2
from cove.wire.errors import decode
from cove.wire.http_errors import check
from router.access import AccessKey
from router.nodes import Node

POLL_S: Final = 50.0
CHUNK_BYTES: Final = 2**20
MAX_NAMES: Final = 1_000_000
"""In one directory."""


class NodeSandbox:
    """One sandbox on ``node``, which may still be starting."""

    def __init__(
        self, channel: grpc.aio.Channel, session: aiohttp.ClientSession, key: AccessKey, node: Node, sandbox_id: SandboxId
    ) -> None:
        self._channel, self._session, self._key, self._node, self.sandbox_id = channel, session, key, node, sandbox_id

    async def start(self, argv: Sequence[str], *, env: Mapping[str, str], workdir: str, user: str, timeout_s: float) -> str:
        """Start a process; returns its id. Raises: cove.exception.Error."""
        exec_id = new_id("ex")
        request = data_pb2.ProcessStartRequest(
            exec_id=exec_id,
            argv=[argument.encode("utf-8", "surrogateescape") for argument in argv],
            env=env,
            workdir=workdir,
            user=user,
            timeout_s=timeout_s,
            no_stdin=True,
        )
        await self.start_process(request)
        return exec_id

    async def start_process(self, request: data_pb2.ProcessStartRequest) -> data_pb2.ProcessStatus:
        """Start what ``request`` says, in this sandbox. Raises: cove.exception.Error: AlreadyExistsError: its id is another process's."""
        request.sandbox_id = self.sandbox_id
        status: data_pb2.ProcessStatus = await self._unary("ProcessStart", request, data_pb2.ProcessStatus)
        return status

    async def process(self, exec_id: str) -> data_pb2.ProcessStatus:
        """How a process is. Raises: cove.exception.Error: NotFoundError: there is none."""
        request = data_pb2.ProcessGetRequest(sandbox_id=self.sandbox_id, exec_id=exec_id)
        status: data_pb2.ProcessStatus = await self._unary("ProcessGet", request, data_pb2.ProcessStatus)
        return status

    async def write_input(self, exec_id: str, offset: int, data: bytes) -> int:
        """Write to a process's input; returns the next offset. Raises: cove.exception.Error: ConflictError: it has ended."""
        request = data_pb2.ProcessInputRequest(sandbox_id=self.sandbox_id, exec_id=exec_id, offset=offset, data=data)
        answer: data_pb2.ProcessInputResponse = await self._unary("ProcessInput", request, data_pb2.ProcessInputResponse)
        return answer.offset

    async def resize(self, exec_id: str, size: data_pb2.PtySize) -> None:
        """Raises: cove.exception.Error: ConflictError: it has ended."""
        request = data_pb2.ProcessResizeRequest(sandbox_id=self.sandbox_id, exec_id=exec_id, pty=size)
        await self._unary("ProcessResize", request, data_pb2.ProcessResizeResponse)

    async def signal(self, exec_id: str, number: int) -> None:
        """Send a signal to a process and all that it has started. Raises: cove.exception.Error: ConflictError: it has ended."""
        request = data_pb2.ProcessSignalRequest(sandbox_id=self.sandbox_id, exec_id=exec_id, signal=number, tree=True)
        await self._unary("ProcessSignal", request, data_pb2.ProcessSignalResponse)

    async def output(self, exec_id: str, fd: int) -> AsyncIterator[bytes]:
        """What a process writes, as it comes, to its end. Raises: cove.exception.Error."""
        offset, ended = 0, False
        while not ended:
            before = offset
            async for chunk in self.output_from(exec_id, fd, offset):
                offset, ended = chunk.offset + len(chunk.data), chunk.eof
                if chunk.data:
                    yield chunk.data
            if not ended and offset == before:
                raise ConnectionError("The build's node broke off a command's output.", remedy="Build again.")

    async def output_from(self, exec_id: str, fd: int, offset: int) -> AsyncGenerator[data_pb2.OutputChunk, None]:
        """What there is from ``offset`` on, and what comes. Without ``eof`` in its last chunk it was cut. Raises: cove.exception.Error."""
        request = data_pb2.ProcessOutputRequest(sandbox_id=self.sandbox_id, exec_id=exec_id, fd=fd, offset=offset, follow=True)
        stub: Any = self._channel.unary_stream(
            "/cove.v1.DataPlane/ProcessOutput",
            request_serializer=data_pb2.ProcessOutputRequest.SerializeToString,
            response_deserializer=data_pb2.OutputChunk.FromString,
        )
        call = stub(request, metadata=self._metadata())
        try:
            async for chunk in call:
                yield chunk
        except grpc.RpcError as error:
            raise decode(error) from error
        finally:
            call.cancel()  # a no-op when it is over; otherwise nobody reads on, and the node shall know

    async def wait(self, exec_id: str) -> data_pb2.ProcessStatus:
        """How a process ended. Raises: cove.exception.Error."""
        request = data_pb2.ProcessWaitRequest(sandbox_id=self.sandbox_id, exec_id=exec_id, timeout_s=POLL_S)
        while True:
            status: data_pb2.ProcessStatus = await self._unary("ProcessWait", request, data_pb2.ProcessStatus)
            if status.state != data_pb2.PROCESS_STATE_RUNNING:
                return status

    async def mode(self, path: str) -> int | None:
        """Type and permissions of what is at an absolute path, links followed; None: nothing. Raises: cove.exception.Error."""
        request = data_pb2.FileStatRequest(sandbox_id=self.sandbox_id, path=_bytes(path))
        try:
            answer: data_pb2.FileStatResponse = await self._unary("FileStat", request, data_pb2.FileStatResponse)
        except FilesystemExecutionError:
            return None
        return answer.info.mode

    async def is_directory(self, path: str) -> bool:
        """Whether there is a directory at an absolute path, links followed. Raises: cove.exception.Error."""
        return stat.S_ISDIR(await self.mode(path) or 0)

    async def make_directory(self, path: str) -> None:
        """With its parents; one that exists is fine. Raises: cove.exception.Error."""
        request = data_pb2.FileMakeDirectoryRequest(sandbox_id=self.sandbox_id, path=_bytes(path), parents=True)
        await self._unary("FileMakeDirectory", request, data_pb2.FileMakeDirectoryResponse)

    async def list_names(self, path: str) -> list[str]:
        """What a directory contains, sorted; nothing if there is none. Raises: cove.exception.Error."""
        request = data_pb2.FileListRequest(sandbox_id=self.sandbox_id, path=_bytes(path))
        stub: Any = self._channel.unary_stream(
            "/cove.v1.DataPlane/FileList",
            request_serializer=data_pb2.FileListRequest.SerializeToString,
            response_deserializer=data_pb2.FileListChunk.FromString,
        )
        names: list[bytes] = []
        try:
            async for chunk in stub(request, metadata=self._metadata()):
                names += [entry.name_bytes or entry.name.encode() for entry in chunk.entries]
                if len(names) > MAX_NAMES:
                    raise RequestSizeError(f"The directory {path[:80]!r} has more than {MAX_NAMES} files.", remedy="Name them.")
        except grpc.RpcError as error:
            failure = decode(error)
            if isinstance(failure, FilesystemExecutionError):
                return []
            raise failure from error
        return sorted(name.decode("utf-8", "surrogateescape") for name in names)

    async def remove(self, path: str) -> None:
        """With all below it; what is not there is fine. Raises: cove.exception.Error."""
        request = data_pb2.FileRemoveRequest(sandbox_id=self.sandbox_id, path=_bytes(path), recursive=True)
        try:
            await self._unary("FileRemove", request, data_pb2.FileRemoveResponse)
        except FilesystemExecutionError as error:
            if error.context.get("errno") not in (str(errno.ENOENT), str(errno.ENOTDIR)):
                raise

    async def write_file(self, path: str, content: AsyncIterable[bytes], *, mode: int) -> None:
        """Raises: cove.exception.Error."""
        await self._put("file", {"path": path, "mode": f"{mode:o}", "parents": "1"}, content)

    async def unpack(self, directory: str, archive: AsyncIterable[bytes]) -> None:
        """Unpack a tar below a directory. Raises: cove.exception.Error."""
        await self._put("archive", {"path": directory}, archive)

    async def read_file(self, path: str, *, max_bytes: int) -> bytes:
        """The beginning of a file; empty if there is none. Raises: cove.exception.Error."""
        content = b""
        try:
            async for piece in self._get("file", path):
                content += piece
                if len(content) >= max_bytes:
                    break
        except FilesystemExecutionError:
            return b""
        return content[:max_bytes]

    def archive(self, path: str) -> AsyncIterator[bytes]:
        """A file or directory as a tar. Raises: cove.exception.Error."""
        return self._get("archive", path)

    async def _get(self, kind: str, path: str) -> AsyncIterator[bytes]:
        try:
            async with self._session.get(self._url(kind, {"path": path}), headers=self._headers()) as response:
                await check(response)
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    yield chunk
        except aiohttp.ClientError as error:
            raise ConnectionError("The build's node broke off a transfer.", remedy="Build again.") from error

    async def _put(self, kind: str, query: Mapping[str, str], content: AsyncIterable[bytes]) -> None:
        try:
            async with self._session.put(self._url(kind, query), headers=self._headers(), data=content) as response:
                await check(response)
        except aiohttp.ClientError as error:
            if isinstance(error.__cause__, Error):  # aiohttp hides what the body's source raised behind an error of its own
                raise error.__cause__ from None
            raise ConnectionError("The build's node broke off a transfer.", remedy="Build again.") from error

    def _url(self, kind: str, query: Mapping[str, str]) -> URL:
        parameters = "&".join(f"{name}={quote_from_bytes(_bytes(value), safe='')}" for name, value in query.items())
        return URL(f"{self._node.record.http_url}/v1/sandboxes/{self.sandbox_id}/{kind}?{parameters}", encoded=True)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key.sandbox_token(self.sandbox_id, self._node.node_id)[0]}"}

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", self._headers()["Authorization"]),)

    async def _unary(self, method: str, request: Message, response: type[Any]) -> Any:
        stub: Any = self._channel.unary_unary(
            f"/cove.v1.DataPlane/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            return await stub(request, metadata=self._metadata())
        except grpc.RpcError as error:
            raise decode(error) from error


async def one_piece(data: bytes) -> AsyncIterator[bytes]:
    """``data`` as the content of :meth:`NodeSandbox.write_file`."""
    yield data


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
