"""Every error that cove raises on purpose, and the one table that carries them over the wire.

::

    Error
    ├── AlreadyExistsError          a name, key or file is taken
    ├── AuthError                   no credentials, wrong ones, or expired ones
    ├── ClientClosed                the client was closed under the call
    ├── ConnectionError             the server cannot be reached
    ├── DataLossError               stored data is gone or fails its checksum
    ├── DeserializationError        a value cannot be unpickled here
    ├── ExecutionError              something unexpected at run time
    ├── FilesystemExecutionError    a file operation failed without an errno of its own
    ├── InternalError               a bug in cove
    ├── InternalFailure             an internal failure that a retry can help
    ├── InvalidError                the request is wrong; it changed nothing
    │   └── ConflictError           the request is right but not in this state
    ├── NotFoundError               no such object, or it no longer runs
    ├── PermissionDeniedError       known, but not allowed
    ├── RemoteError                 the server's side of the work failed (an image build step, for one)
    ├── RequestSizeError            the request is too large
    ├── ResourceExhaustedError      no capacity, quota or rate left
    ├── SandboxTerminatedError      the sandbox was terminated, or lost for a reason of ours
    │   └── SandboxOutOfMemoryError its memory limit was reached
    ├── SerializationError          a value cannot be pickled here
    ├── ServiceError                client and server did not understand each other
    ├── UnimplementedError          not supported yet
    ├── VersionError                client and server are too far apart
    └── TimeoutError                (also a builtin TimeoutError)
        ├── ExecTimeoutError        a process ran into its own timeout
        ├── FunctionTimeoutError    a Function ran into its timeout
        ├── InteractiveTimeoutError nobody attached in time
        ├── MountUploadTimeoutError
        ├── OutputExpiredError      a result is no longer kept
        ├── SandboxTimeoutError     a sandbox reached the end of its lifetime or idle time
        └── VolumeUploadTimeoutError
    ModuleNotMountable              (Exception)
    InputCancellation               (BaseException)

Each error says what happened (``cause``), what to do (``remedy``), whether trying again can help (``retryable``) and under which
``code`` it crosses the wire. Errors cross by code, never by class path: ``CODES`` maps each code to its class and to the gRPC and HTTP
status at the edges.

File operations raise the builtin ``OSError`` family (``FileNotFoundError`` and so on), as :class:`io.FileIO` does.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_TEXT: Final = 1024
"""Characters of cause or remedy that an error keeps: output and user data must not flood logs."""


class Error(Exception):
    """Base of all cove errors.

    Args:
        cause: what happened, in one sentence.
        code: the wire code; the class's own when left out.
        remedy: what the reader can do about it.
        retryable: whether the same call can succeed later.
        context: facts for programs, e.g. ``{"errno": "2"}``; values are strings.
    """

    code: str = "internal"
    retryable: bool = False

    def __init__(
        self,
        cause: str = "",
        *,
        code: str | None = None,
        remedy: str = "",
        retryable: bool | None = None,
        context: Mapping[str, str] | None = None,
    ) -> None:
        self.cause = _cut(cause)
        self.remedy = _cut(remedy)
        self.code = code or type(self).code
        self.retryable = type(self).retryable if retryable is None else retryable
        self.context = dict(context or {})
        apart = "\n" if "\n" in self.cause else " "  # a cause of several lines ends in what some program has said
        super().__init__(f"{self.cause}{apart}{self.remedy}".strip())

    @property
    def message(self) -> str:
        """The whole text, as ``str()`` gives it."""
        return str(self)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


class AlreadyExistsError(Error):
    code = "already_exists"


class AuthError(Error):
    code = "unauthenticated"


class ClientClosed(Error):
    code = "client_closed"


class ConnectionError(Error):
    code = "unreachable"
    retryable = True


class DataLossError(Error):
    code = "data_loss"


class DeserializationError(Error):
    code = "deserialization"


class ExecutionError(Error):
    code = "execution"


class FilesystemExecutionError(Error):
    code = "file_system"


class InternalError(Error):
    code = "internal"


class InternalFailure(Error):
    code = "internal_failure"
    retryable = True


class InvalidError(Error):
    code = "invalid"


class ConflictError(InvalidError):
    code = "conflict"


class NotFoundError(Error):
    code = "not_found"


class PermissionDeniedError(Error):
    code = "permission_denied"


class RemoteError(Error):
    code = "remote"


class RequestSizeError(Error):
    code = "too_large"


class ResourceExhaustedError(Error):
    code = "exhausted"
    retryable = True


class SandboxTerminatedError(Error):
    code = "sandbox_terminated"


class SandboxOutOfMemoryError(SandboxTerminatedError):
    code = "sandbox_out_of_memory"


class SerializationError(Error):
    code = "serialization"


class ServiceError(Error):
    code = "service"
    retryable = True


class UnimplementedError(Error):
    code = "unimplemented"


class VersionError(Error):
    code = "version"


class TimeoutError(Error, builtins.TimeoutError):
    code = "timeout"


class ExecTimeoutError(TimeoutError):
    code = "exec_timeout"


class FunctionTimeoutError(TimeoutError):
    code = "function_timeout"


class InteractiveTimeoutError(TimeoutError):
    code = "interactive_timeout"


class MountUploadTimeoutError(TimeoutError):
    code = "mount_upload_timeout"


class OutputExpiredError(TimeoutError):
    code = "output_expired"


class SandboxTimeoutError(TimeoutError):
    code = "sandbox_timeout"


class VolumeUploadTimeoutError(TimeoutError):
    code = "volume_upload_timeout"


class ModuleNotMountable(Exception):
    """A local module cannot be shipped."""


class InputCancellation(BaseException):
    """The current input was cancelled. A BaseException, so that ``except Exception`` does not swallow it."""


class AsyncUsageWarning(UserWarning):
    """A blocking call was made where its ``.aio`` twin belongs."""


class DeprecationError(UserWarning):
    """Something will go away."""


class PendingDeprecationError(UserWarning):
    """Something will be deprecated."""


class ServerWarning(UserWarning):
    """The server has something to say."""


class Code(NamedTuple):
    """How one wire code appears at each edge."""

    error: type[Error]
    grpc: str
    """Name of the gRPC status code."""
    http: int


CODES: Final[Mapping[str, Code]] = {
    "already_exists": Code(AlreadyExistsError, "ALREADY_EXISTS", 409),
    "unauthenticated": Code(AuthError, "UNAUTHENTICATED", 401),
    "token_expired": Code(AuthError, "UNAUTHENTICATED", 401),
    "client_closed": Code(ClientClosed, "CANCELLED", 499),
    "unreachable": Code(ConnectionError, "UNAVAILABLE", 503),
    "data_loss": Code(DataLossError, "DATA_LOSS", 500),
    "deserialization": Code(DeserializationError, "INVALID_ARGUMENT", 400),
    "execution": Code(ExecutionError, "UNKNOWN", 500),
    "file_system": Code(FilesystemExecutionError, "UNKNOWN", 500),
    "file_error": Code(FilesystemExecutionError, "FAILED_PRECONDITION", 422),
    "internal": Code(InternalError, "INTERNAL", 500),
    "internal_failure": Code(InternalFailure, "UNAVAILABLE", 503),
    "invalid": Code(InvalidError, "INVALID_ARGUMENT", 400),
    "exec_failed": Code(InvalidError, "INVALID_ARGUMENT", 400),
    "out_of_range": Code(InvalidError, "OUT_OF_RANGE", 416),
    "conflict": Code(ConflictError, "FAILED_PRECONDITION", 409),
    "stdin_closed": Code(ConflictError, "FAILED_PRECONDITION", 409),
    "sandbox_ended": Code(ConflictError, "FAILED_PRECONDITION", 409),
    "port_closed": Code(ConflictError, "FAILED_PRECONDITION", 502),
    "not_found": Code(NotFoundError, "NOT_FOUND", 404),
    "permission_denied": Code(PermissionDeniedError, "PERMISSION_DENIED", 403),
    "remote": Code(RemoteError, "ABORTED", 500),
    "too_large": Code(RequestSizeError, "INVALID_ARGUMENT", 413),
    "exhausted": Code(ResourceExhaustedError, "RESOURCE_EXHAUSTED", 429),
    "sandbox_terminated": Code(SandboxTerminatedError, "ABORTED", 409),
    "sandbox_out_of_memory": Code(SandboxOutOfMemoryError, "ABORTED", 409),
    "serialization": Code(SerializationError, "INVALID_ARGUMENT", 400),
    "service": Code(ServiceError, "UNAVAILABLE", 503),
    "unimplemented": Code(UnimplementedError, "UNIMPLEMENTED", 501),
    "version": Code(VersionError, "FAILED_PRECONDITION", 426),
    "timeout": Code(TimeoutError, "DEADLINE_EXCEEDED", 504),
    "exec_timeout": Code(ExecTimeoutError, "DEADLINE_EXCEEDED", 504),
    "function_timeout": Code(FunctionTimeoutError, "DEADLINE_EXCEEDED", 504),
    "interactive_timeout": Code(InteractiveTimeoutError, "DEADLINE_EXCEEDED", 504),
    "mount_upload_timeout": Code(MountUploadTimeoutError, "DEADLINE_EXCEEDED", 504),
    "output_expired": Code(OutputExpiredError, "DEADLINE_EXCEEDED", 410),
    "sandbox_timeout": Code(SandboxTimeoutError, "DEADLINE_EXCEEDED", 504),
    "volume_upload_timeout": Code(VolumeUploadTimeoutError, "DEADLINE_EXCEEDED", 504),
}

GRPC_FALLBACK: Final[Mapping[str, type[Error]]] = {
    "CANCELLED": ServiceError,
    "UNKNOWN": ServiceError,
    "DEADLINE_EXCEEDED": ServiceError,
    "UNAVAILABLE": ConnectionError,
    "INVALID_ARGUMENT": InvalidError,
    "OUT_OF_RANGE": InvalidError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": AlreadyExistsError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "RESOURCE_EXHAUSTED": ResourceExhaustedError,
    "FAILED_PRECONDITION": ConflictError,
    "ABORTED": ConflictError,
    "UNIMPLEMENTED": UnimplementedError,
    "INTERNAL": InternalError,
    "DATA_LOSS": DataLossError,
    "UNAUTHENTICATED": AuthError,
}
"""gRPC status name to class, for a status that came without our error record (a proxy's, say)."""


def from_code(code: str, cause: str, *, remedy: str = "", retryable: bool = False, context: Mapping[str, str] | None = None) -> Error:
    """Build the error that ``code`` names; an unknown code (a newer server's) becomes :class:`ServiceError`."""
    entry = CODES.get(code)
    kind = entry.error if entry else ServiceError
    return kind(cause, code=code, remedy=remedy, retryable=retryable, context=context)
