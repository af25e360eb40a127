from cove.wire import network_pb2 as _network_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProcessState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROCESS_STATE_UNSPECIFIED: _ClassVar[ProcessState]
    PROCESS_STATE_RUNNING: _ClassVar[ProcessState]
    PROCESS_STATE_EXITED: _ClassVar[ProcessState]
    PROCESS_STATE_SIGNALED: _ClassVar[ProcessState]
    PROCESS_STATE_TIMED_OUT: _ClassVar[ProcessState]
    PROCESS_STATE_LOST: _ClassVar[ProcessState]

class FileWatchEventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILE_WATCH_EVENT_TYPE_UNKNOWN: _ClassVar[FileWatchEventType]
    FILE_WATCH_EVENT_TYPE_ACCESS: _ClassVar[FileWatchEventType]
    FILE_WATCH_EVENT_TYPE_CREATE: _ClassVar[FileWatchEventType]
    FILE_WATCH_EVENT_TYPE_MODIFY: _ClassVar[FileWatchEventType]
    FILE_WATCH_EVENT_TYPE_REMOVE: _ClassVar[FileWatchEventType]
PROCESS_STATE_UNSPECIFIED: ProcessState
PROCESS_STATE_RUNNING: ProcessState
PROCESS_STATE_EXITED: ProcessState
PROCESS_STATE_SIGNALED: ProcessState
PROCESS_STATE_TIMED_OUT: ProcessState
PROCESS_STATE_LOST: ProcessState
FILE_WATCH_EVENT_TYPE_UNKNOWN: FileWatchEventType
FILE_WATCH_EVENT_TYPE_ACCESS: FileWatchEventType
FILE_WATCH_EVENT_TYPE_CREATE: FileWatchEventType
FILE_WATCH_EVENT_TYPE_MODIFY: FileWatchEventType
FILE_WATCH_EVENT_TYPE_REMOVE: FileWatchEventType

class PtySize(_message.Message):
    __slots__ = ("rows", "columns")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    columns: int
    def __init__(self, rows: _Optional[int] = ..., columns: _Optional[int] = ...) -> None: ...

class ProcessStartRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "argv", "env", "workdir", "user", "pty", "timeout_s", "no_stdin")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    WORKDIR_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    NO_STDIN_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    argv: _containers.RepeatedScalarFieldContainer[bytes]
    env: _containers.ScalarMap[str, str]
    workdir: str
    user: str
    pty: PtySize
    timeout_s: float
    no_stdin: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., argv: _Optional[_Iterable[bytes]] = ..., env: _Optional[_Mapping[str, str]] = ..., workdir: _Optional[str] = ..., user: _Optional[str] = ..., pty: _Optional[_Union[PtySize, _Mapping]] = ..., timeout_s: _Optional[float] = ..., no_stdin: bool = ...) -> None: ...

class ProcessStatus(_message.Message):
    __slots__ = ("exec_id", "state", "exit_code", "signal", "pid", "argv", "pty", "started_at", "ended_at", "stdout_bytes", "stderr_bytes", "stdin_offset", "stdin_closed", "timeout_s")
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    STDOUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    STDERR_BYTES_FIELD_NUMBER: _ClassVar[int]
    STDIN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    STDIN_CLOSED_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    state: ProcessState
    exit_code: int
    signal: int
    pid: int
    argv: _containers.RepeatedScalarFieldContainer[bytes]
    pty: bool
    started_at: float
    ended_at: float
    stdout_bytes: int
    stderr_bytes: int
    stdin_offset: int
    stdin_closed: bool
    timeout_s: float
    def __init__(self, exec_id: _Optional[str] = ..., state: _Optional[_Union[ProcessState, str]] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., pid: _Optional[int] = ..., argv: _Optional[_Iterable[bytes]] = ..., pty: bool = ..., started_at: _Optional[float] = ..., ended_at: _Optional[float] = ..., stdout_bytes: _Optional[int] = ..., stderr_bytes: _Optional[int] = ..., stdin_offset: _Optional[int] = ..., stdin_closed: bool = ..., timeout_s: _Optional[float] = ...) -> None: ...

class ProcessListRequest(_message.Message):
    __slots__ = ("sandbox_id", "include_ended")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ENDED_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    include_ended: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., include_ended: bool = ...) -> None: ...

class ProcessListResponse(_message.Message):
    __slots__ = ("processes",)
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    processes: _containers.RepeatedCompositeFieldContainer[ProcessStatus]
    def __init__(self, processes: _Optional[_Iterable[_Union[ProcessStatus, _Mapping]]] = ...) -> None: ...

class ProcessGetRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ...) -> None: ...

class ProcessWaitRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "timeout_s")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    timeout_s: float
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class ProcessOutputRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "fd", "offset", "follow")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    FD_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    fd: int
    offset: int
    follow: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., fd: _Optional[int] = ..., offset: _Optional[int] = ..., follow: bool = ...) -> None: ...

class OutputChunk(_message.Message):
    __slots__ = ("offset", "data", "eof")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    EOF_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    eof: bool
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ..., eof: bool = ...) -> None: ...

class ProcessInputRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "offset", "data", "eof")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    EOF_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    offset: int
    data: bytes
    eof: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., eof: bool = ...) -> None: ...

class ProcessInputResponse(_message.Message):
    __slots__ = ("offset",)
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    offset: int
    def __init__(self, offset: _Optional[int] = ...) -> None: ...

class ProcessSignalRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "signal", "tree")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    signal: int
    tree: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., signal: _Optional[int] = ..., tree: bool = ...) -> None: ...

class ProcessSignalResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProcessResizeRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "pty")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    pty: PtySize
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., pty: _Optional[_Union[PtySize, _Mapping]] = ...) -> None: ...

class ProcessResizeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FileInfo(_message.Message):
    __slots__ = ("name", "name_bytes", "mode", "uid", "gid", "size_bytes", "mtime_ns", "link_target")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MTIME_NS_FIELD_NUMBER: _ClassVar[int]
    LINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    name: str
    name_bytes: bytes
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    link_target: str
    def __init__(self, name: _Optional[str] = ..., name_bytes: _Optional[bytes] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., size_bytes: _Optional[int] = ..., mtime_ns: _Optional[int] = ..., link_target: _Optional[str] = ...) -> None: ...

class FileOpenRequest(_message.Message):
    __slots__ = ("sandbox_id", "path", "flags", "read_ahead")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    READ_AHEAD_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    path: bytes
    flags: int
    read_ahead: int
    def __init__(self, sandbox_id: _Optional[str] = ..., path: _Optional[bytes] = ..., flags: _Optional[int] = ..., read_ahead: _Optional[int] = ...) -> None: ...

class FileOpenResponse(_message.Message):
    __slots__ = ("handle", "size_bytes", "data", "eof")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    EOF_FIELD_NUMBER: _ClassVar[int]
    handle: int
    size_bytes: int
    data: bytes
    eof: bool
    def __init__(self, handle: _Optional[int] = ..., size_bytes: _Optional[int] = ..., data: _Optional[bytes] = ..., eof: bool = ...) -> None: ...

class FileReadRequest(_message.Message):
    __slots__ = ("sandbox_id", "handle", "count")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    handle: int
    count: int
    def __init__(self, sandbox_id: _Optional[str] = ..., handle: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class FileWriteRequest(_message.Message):
    __slots__ = ("sandbox_id", "handle", "data", "flush", "close")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FLUSH_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    handle: int
    data: bytes
    flush: bool
    close: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., handle: _Optional[int] = ..., data: _Optional[bytes] = ..., flush: bool = ..., close: bool = ...) -> None: ...

class FileWriteResponse(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: int
    def __init__(self, position: _Optional[int] = ...) -> None: ...

class FileSeekRequest(_message.Message):
    __slots__ = ("sandbox_id", "handle", "offset", "whence")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    WHENCE_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    handle: int
    offset: int
    whence: int
    def __init__(self, sandbox_id: _Optional[str] = ..., handle: _Optional[int] = ..., offset: _Optional[int] = ..., whence: _Optional[int] = ...) -> None: ...

class FileSeekResponse(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: int
    def __init__(self, position: _Optional[int] = ...) -> None: ...

class FileFlushRequest(_message.Message):
    __slots__ = ("sandbox_id", "handle")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    handle: int
    def __init__(self, sandbox_id: _Optional[str] = ..., handle: _Optional[int] = ...) -> None: ...

class FileFlushResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FileCloseRequest(_message.Message):
    __slots__ = ("sandbox_id", "handle")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    handle: int
    def __init__(self, sandbox_id: _Optional[str] = ..., handle: _Optional[int] = ...) -> None: ...

class FileCloseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FileStatRequest(_message.Message):
    __slots__ = ("sandbox_id", "path", "no_follow")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    NO_FOLLOW_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    path: bytes
    no_follow: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., path: _Optional[bytes] = ..., no_follow: bool = ...) -> None: ...

class FileStatResponse(_message.Message):
    __slots__ = ("info",)
    INFO_FIELD_NUMBER: _ClassVar[int]
    info: FileInfo
    def __init__(self, info: _Optional[_Union[FileInfo, _Mapping]] = ...) -> None: ...

class FileListRequest(_message.Message):
    __slots__ = ("sandbox_id", "path")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    path: bytes
    def __init__(self, sandbox_id: _Optional[str] = ..., path: _Optional[bytes] = ...) -> None: ...

class FileListChunk(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[FileInfo]
    def __init__(self, entries: _Optional[_Iterable[_Union[FileInfo, _Mapping]]] = ...) -> None: ...

class FileMakeDirectoryRequest(_message.Message):
    __slots__ = ("sandbox_id", "path", "parents")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    path: bytes
    parents: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., path: _Optional[bytes] = ..., parents: bool = ...) -> None: ...

class FileMakeDirectoryResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FileRemoveRequest(_message.Message):
    __slots__ = ("sandbox_id", "path", "recursive")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    path: bytes
    recursive: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., path: _Optional[bytes] = ..., recursive: bool = ...) -> None: ...

class FileRemoveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FileRenameRequest(_message.Message):
    __slots__ = ("sandbox_id", "source", "target")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    source: bytes
    target: bytes
    def __init__(self, sandbox_id: _Optional[str] = ..., source: _Optional[bytes] = ..., target: _Optional[bytes] = ...) -> None: ...

class FileRenameResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FileWatchRequest(_message.Message):
    __slots__ = ("sandbox_id", "path", "recursive", "timeout_s")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    path: bytes
    recursive: bool
    timeout_s: float
    def __init__(self, sandbox_id: _Optional[str] = ..., path: _Optional[bytes] = ..., recursive: bool = ..., timeout_s: _Optional[float] = ...) -> None: ...

class FileWatchEvent(_message.Message):
    __slots__ = ("type", "paths", "overflow")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    type: FileWatchEventType
    paths: _containers.RepeatedScalarFieldContainer[bytes]
    overflow: bool
    def __init__(self, type: _Optional[_Union[FileWatchEventType, str]] = ..., paths: _Optional[_Iterable[bytes]] = ..., overflow: bool = ...) -> None: ...
