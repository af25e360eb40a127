from cove.wire import network_pb2 as _network_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EndReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    END_REASON_UNSPECIFIED: _ClassVar[EndReason]
    END_REASON_SUCCESS: _ClassVar[EndReason]
    END_REASON_FAILURE: _ClassVar[EndReason]
    END_REASON_TERMINATED: _ClassVar[EndReason]
    END_REASON_TIMEOUT: _ClassVar[EndReason]
    END_REASON_IDLE_TIMEOUT: _ClassVar[EndReason]
    END_REASON_OUT_OF_MEMORY: _ClassVar[EndReason]
    END_REASON_INIT_FAILURE: _ClassVar[EndReason]
    END_REASON_INTERNAL_FAILURE: _ClassVar[EndReason]

class SandboxState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SANDBOX_STATE_UNSPECIFIED: _ClassVar[SandboxState]
    SANDBOX_STATE_PENDING: _ClassVar[SandboxState]
    SANDBOX_STATE_RUNNING: _ClassVar[SandboxState]
    SANDBOX_STATE_STOPPING: _ClassVar[SandboxState]
    SANDBOX_STATE_STOPPED: _ClassVar[SandboxState]

class EndAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    END_ACTION_TERMINATE: _ClassVar[EndAction]
    END_ACTION_PAUSE: _ClassVar[EndAction]

class PortKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PORT_KIND_ENCRYPTED: _ClassVar[PortKind]
    PORT_KIND_UNENCRYPTED: _ClassVar[PortKind]
    PORT_KIND_H2: _ClassVar[PortKind]
END_REASON_UNSPECIFIED: EndReason
END_REASON_SUCCESS: EndReason
END_REASON_FAILURE: EndReason
END_REASON_TERMINATED: EndReason
END_REASON_TIMEOUT: EndReason
END_REASON_IDLE_TIMEOUT: EndReason
END_REASON_OUT_OF_MEMORY: EndReason
END_REASON_INIT_FAILURE: EndReason
END_REASON_INTERNAL_FAILURE: EndReason
SANDBOX_STATE_UNSPECIFIED: SandboxState
SANDBOX_STATE_PENDING: SandboxState
SANDBOX_STATE_RUNNING: SandboxState
SANDBOX_STATE_STOPPING: SandboxState
SANDBOX_STATE_STOPPED: SandboxState
END_ACTION_TERMINATE: EndAction
END_ACTION_PAUSE: EndAction
PORT_KIND_ENCRYPTED: PortKind
PORT_KIND_UNENCRYPTED: PortKind
PORT_KIND_H2: PortKind

class SandboxResult(_message.Message):
    __slots__ = ("reason", "exit_code", "message", "ended_at")
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    reason: EndReason
    exit_code: int
    message: str
    ended_at: float
    def __init__(self, reason: _Optional[_Union[EndReason, str]] = ..., exit_code: _Optional[int] = ..., message: _Optional[str] = ..., ended_at: _Optional[float] = ...) -> None: ...

class SandboxStatus(_message.Message):
    __slots__ = ("sandbox_id", "state", "result", "started_at", "expires_at", "idle_since", "paused_at")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    IDLE_SINCE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_AT_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    state: SandboxState
    result: SandboxResult
    started_at: float
    expires_at: float
    idle_since: float
    paused_at: float
    def __init__(self, sandbox_id: _Optional[str] = ..., state: _Optional[_Union[SandboxState, str]] = ..., result: _Optional[_Union[SandboxResult, _Mapping]] = ..., started_at: _Optional[float] = ..., expires_at: _Optional[float] = ..., idle_since: _Optional[float] = ..., paused_at: _Optional[float] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("cpu_request_millis", "cpu_limit_millis", "memory_request_bytes", "memory_limit_bytes", "disk_limit_bytes", "max_tasks")
    CPU_REQUEST_MILLIS_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_MILLIS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_TASKS_FIELD_NUMBER: _ClassVar[int]
    cpu_request_millis: int
    cpu_limit_millis: int
    memory_request_bytes: int
    memory_limit_bytes: int
    disk_limit_bytes: int
    max_tasks: int
    def __init__(self, cpu_request_millis: _Optional[int] = ..., cpu_limit_millis: _Optional[int] = ..., memory_request_bytes: _Optional[int] = ..., memory_limit_bytes: _Optional[int] = ..., disk_limit_bytes: _Optional[int] = ..., max_tasks: _Optional[int] = ...) -> None: ...

class ImageRef(_message.Message):
    __slots__ = ("debian", "rootfs_path", "image_id")
    DEBIAN_FIELD_NUMBER: _ClassVar[int]
    ROOTFS_PATH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    debian: str
    rootfs_path: str
    image_id: str
    def __init__(self, debian: _Optional[str] = ..., rootfs_path: _Optional[str] = ..., image_id: _Optional[str] = ...) -> None: ...

class SandboxSpec(_message.Message):
    __slots__ = ("command", "env", "workdir", "timeout_s", "idle_timeout_s", "resources", "image", "network", "pty", "verbose", "ports", "on_idle", "on_timeout")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    WORKDIR_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    VERBOSE_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    ON_IDLE_FIELD_NUMBER: _ClassVar[int]
    ON_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    command: _containers.RepeatedScalarFieldContainer[bytes]
    env: _containers.ScalarMap[str, str]
    workdir: str
    timeout_s: int
    idle_timeout_s: int
    resources: Resources
    image: ImageRef
    network: _network_pb2.NetworkPolicy
    pty: bool
    verbose: bool
    ports: _containers.RepeatedCompositeFieldContainer[PortSpec]
    on_idle: EndAction
    on_timeout: EndAction
    def __init__(self, command: _Optional[_Iterable[bytes]] = ..., env: _Optional[_Mapping[str, str]] = ..., workdir: _Optional[str] = ..., timeout_s: _Optional[int] = ..., idle_timeout_s: _Optional[int] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., image: _Optional[_Union[ImageRef, _Mapping]] = ..., network: _Optional[_Union[_network_pb2.NetworkPolicy, _Mapping]] = ..., pty: bool = ..., verbose: bool = ..., ports: _Optional[_Iterable[_Union[PortSpec, _Mapping]]] = ..., on_idle: _Optional[_Union[EndAction, str]] = ..., on_timeout: _Optional[_Union[EndAction, str]] = ...) -> None: ...

class PortSpec(_message.Message):
    __slots__ = ("port", "kind")
    PORT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    port: int
    kind: PortKind
    def __init__(self, port: _Optional[int] = ..., kind: _Optional[_Union[PortKind, str]] = ...) -> None: ...

class ErrorInfo(_message.Message):
    __slots__ = ("code", "cause", "remedy", "retryable", "context")
    class ContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    code: str
    cause: str
    remedy: str
    retryable: bool
    context: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[str] = ..., cause: _Optional[str] = ..., remedy: _Optional[str] = ..., retryable: bool = ..., context: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Access(_message.Message):
    __slots__ = ("grpc_address", "http_url", "token", "expires_at")
    GRPC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HTTP_URL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    grpc_address: str
    http_url: str
    token: str
    expires_at: float
    def __init__(self, grpc_address: _Optional[str] = ..., http_url: _Optional[str] = ..., token: _Optional[str] = ..., expires_at: _Optional[float] = ...) -> None: ...
