"""The remote methods as typed values: ``await plane.call(PROCESS_START, request)`` is known to answer with a ``ProcessStatus``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from cove.wire import common_pb2 as common
from cove.wire import control_pb2 as control
from cove.wire import data_pb2 as data
from cove.wire import image_pb2 as image
from cove.wire import ingress_pb2 as ingress
from cove.wire import network_pb2 as network
from cove.wire import snapshot_pb2 as snapshot

Q = TypeVar("Q")
A = TypeVar("A")
M = TypeVar("M", bound=Message)
N = TypeVar("N", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """A remote method.

    Attributes:
        repeatable: a second call after a lost answer does no harm and gives the same answer.
    """

    path: str
    encode: Callable[[Q], bytes]
    decode: Callable[[bytes], A]
    repeatable: bool


class Unary(Method[Q, A]):
    """One request, one answer."""


class Streamed(Method[Q, A]):
    """One request, a stream of answers."""


def _control(name: str, request: type[M], answer: type[N]) -> Unary[M, N]:
    return Unary(f"/cove.v1.Control/{name}", request.SerializeToString, answer.FromString, True)


def _control_stream(name: str, request: type[M], answer: type[N]) -> Streamed[M, N]:
    return Streamed(f"/cove.v1.Control/{name}", request.SerializeToString, answer.FromString, True)


def _data(name: str, request: type[M], answer: type[N], *, repeatable: bool = True) -> Unary[M, N]:
    return Unary(f"/cove.v1.DataPlane/{name}", request.SerializeToString, answer.FromString, repeatable)


def _stream(name: str, request: type[M], answer: type[N], *, repeatable: bool = True) -> Streamed[M, N]:
    return Streamed(f"/cove.v1.DataPlane/{name}", request.SerializeToString, answer.FromString, repeatable)


HELLO: Final = _control("Hello", control.HelloRequest, control.HelloResponse)
APP_LOOKUP: Final = _control("AppLookup", control.AppLookupRequest, control.AppLookupResponse)
PROXY_GET: Final = _control("ProxyGet", control.ProxyGetRequest, control.ProxyGetResponse)
SANDBOX_CREATE: Final = _control("SandboxCreate", control.SandboxCreateRequest, control.SandboxCreateResponse)
SANDBOX_GET: Final = _control("SandboxGet", control.SandboxGetRequest, control.SandboxInfo)
SANDBOX_GET_BY_NAME: Final = _control("SandboxGetByName", control.SandboxGetByNameRequest, control.SandboxInfo)
SANDBOX_LIST: Final = _control("SandboxList", control.SandboxListRequest, control.SandboxListResponse)
SANDBOX_TAGS_SET: Final = _control("SandboxTagsSet", control.SandboxTagsSetRequest, control.SandboxTagsSetResponse)
SANDBOX_TAGS_GET: Final = _control("SandboxTagsGet", control.SandboxTagsGetRequest, control.SandboxTagsGetResponse)
SANDBOX_WAIT: Final = _control("SandboxWait", control.SandboxWaitRequest, common.SandboxStatus)
SANDBOX_TERMINATE: Final = _control("SandboxTerminate", control.SandboxTerminateRequest, control.SandboxTerminateResponse)
SANDBOX_ACCESS: Final = _control("SandboxAccess", control.SandboxAccessRequest, common.Access)
SANDBOX_NETWORK_UPDATE: Final = _control("SandboxNetworkUpdate", network.SandboxNetworkUpdateRequest, network.SandboxNetworkUpdateResponse)
SANDBOX_SNAPSHOT_FILESYSTEM: Final = _control("SandboxSnapshotFilesystem", image.SandboxSnapshotFilesystemRequest, image.ImageInfo)
TERMINAL_CREATE: Final = _control("TerminalCreate", control.TerminalCreateRequest, control.TerminalCreateResponse)
SANDBOX_DIFF: Final = _control_stream("SandboxDiff", image.SandboxDiffRequest, image.FileChanges)
SANDBOX_SNAPSHOT: Final = _control("SandboxSnapshot", snapshot.SandboxSnapshotRequest, snapshot.SnapshotInfo)
SANDBOX_RESTORE: Final = _control("SandboxRestore", snapshot.SandboxRestoreRequest, control.SandboxCreateResponse)
SANDBOX_PAUSE: Final = _control("SandboxPause", snapshot.SandboxPauseRequest, snapshot.SandboxPauseResponse)
SANDBOX_RESUME: Final = _control("SandboxResume", snapshot.SandboxResumeRequest, snapshot.SandboxResumeResponse)
SNAPSHOT_GET: Final = _control("SnapshotGet", snapshot.SnapshotGetRequest, snapshot.SnapshotInfo)
SNAPSHOT_LIST: Final = _control("SnapshotList", snapshot.SnapshotListRequest, snapshot.SnapshotListResponse)
SNAPSHOT_DELETE: Final = _control("SnapshotDelete", snapshot.SnapshotDeleteRequest, snapshot.SnapshotDeleteResponse)
SNAPSHOT_PIN: Final = _control("SnapshotPin", snapshot.SnapshotPinRequest, snapshot.SnapshotInfo)
SNAPSHOT_VERIFY: Final = _control("SnapshotVerify", snapshot.SnapshotVerifyRequest, snapshot.SnapshotVerifyResponse)
SANDBOX_TUNNELS: Final = _control("SandboxTunnels", ingress.SandboxTunnelsRequest, ingress.SandboxTunnelsResponse)
SANDBOX_PORT_OPEN: Final = _control("SandboxPortOpen", ingress.SandboxPortOpenRequest, ingress.SandboxPortOpenResponse)
SANDBOX_PORT_CLOSE: Final = _control("SandboxPortClose", ingress.SandboxPortCloseRequest, ingress.SandboxPortCloseResponse)
CONNECT_TOKEN_CREATE: Final = _control("ConnectTokenCreate", ingress.ConnectTokenCreateRequest, ingress.ConnectTokenCreateResponse)
CONNECT_TOKEN_LIST: Final = _control("ConnectTokenList", ingress.ConnectTokenListRequest, ingress.ConnectTokenListResponse)
CONNECT_TOKEN_REVOKE: Final = _control("ConnectTokenRevoke", ingress.ConnectTokenRevokeRequest, ingress.ConnectTokenRevokeResponse)

IMAGE_BUILD: Final = _control_stream("ImageBuild", image.ImageBuildRequest, image.ImageBuildEvent)
IMAGE_GET: Final = _control("ImageGet", image.ImageGetRequest, image.ImageInfo)
IMAGE_LIST: Final = _control("ImageList", image.ImageListRequest, image.ImageListResponse)
IMAGE_DELETE: Final = _control("ImageDelete", image.ImageDeleteRequest, image.ImageDeleteResponse)
IMAGE_PRUNE: Final = _control("ImagePrune", image.ImagePruneRequest, image.ImagePruneResponse)
IMAGE_PUSH: Final = _control_stream("ImagePush", image.ImagePushRequest, image.ImagePushEvent)
IMAGE_DIFF: Final = _control_stream("ImageDiff", image.ImageDiffRequest, image.FileChanges)
BLOBS_MISSING: Final = _control("BlobsMissing", image.BlobsMissingRequest, image.BlobsMissingResponse)

PROCESS_START: Final = _data("ProcessStart", data.ProcessStartRequest, data.ProcessStatus)
PROCESS_LIST: Final = _data("ProcessList", data.ProcessListRequest, data.ProcessListResponse)
PROCESS_GET: Final = _data("ProcessGet", data.ProcessGetRequest, data.ProcessStatus)
PROCESS_WAIT: Final = _data("ProcessWait", data.ProcessWaitRequest, data.ProcessStatus)
PROCESS_OUTPUT: Final = _stream("ProcessOutput", data.ProcessOutputRequest, data.OutputChunk)
PROCESS_INPUT: Final = _data("ProcessInput", data.ProcessInputRequest, data.ProcessInputResponse)
PROCESS_SIGNAL: Final = _data("ProcessSignal", data.ProcessSignalRequest, data.ProcessSignalResponse, repeatable=False)
PROCESS_RESIZE: Final = _data("ProcessResize", data.ProcessResizeRequest, data.ProcessResizeResponse)

# Handles have a position: what moves it is repeated by FileIO, which knows where it was, or not at all. Seeks go to absolute positions.
FILE_OPEN: Final = _data("FileOpen", data.FileOpenRequest, data.FileOpenResponse, repeatable=False)
FILE_READ: Final = _stream("FileRead", data.FileReadRequest, data.FileChunk, repeatable=False)
FILE_WRITE: Final = _data("FileWrite", data.FileWriteRequest, data.FileWriteResponse, repeatable=False)
FILE_SEEK: Final = _data("FileSeek", data.FileSeekRequest, data.FileSeekResponse)
FILE_FLUSH: Final = _data("FileFlush", data.FileFlushRequest, data.FileFlushResponse)
FILE_CLOSE: Final = _data("FileClose", data.FileCloseRequest, data.FileCloseResponse, repeatable=False)

FILE_STAT: Final = _data("FileStat", data.FileStatRequest, data.FileStatResponse)
FILE_LIST: Final = _stream("FileList", data.FileListRequest, data.FileListChunk, repeatable=False)
FILE_MAKE_DIRECTORY: Final = _data("FileMakeDirectory", data.FileMakeDirectoryRequest, data.FileMakeDirectoryResponse, repeatable=False)
FILE_REMOVE: Final = _data("FileRemove", data.FileRemoveRequest, data.FileRemoveResponse, repeatable=False)
FILE_RENAME: Final = _data("FileRename", data.FileRenameRequest, data.FileRenameResponse, repeatable=False)
FILE_WATCH: Final = _stream("FileWatch", data.FileWatchRequest, data.FileWatchEvent, repeatable=False)

NETWORK_LOG: Final = _stream("NetworkLog", network.NetworkLogRequest, network.NetworkLogChunk)
NETWORK_GET: Final = _data("NetworkGet", network.NetworkGetRequest, network.NetworkSummary)
