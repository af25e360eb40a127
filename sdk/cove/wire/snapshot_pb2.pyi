from cove.wire import common_pb2 as _common_pb2
from cove.wire import network_pb2 as _network_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MachineKind(_message.Message):
    __slots__ = ("architecture", "runsc_version", "platform", "cpu_features", "runsc_build")
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    RUNSC_VERSION_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    CPU_FEATURES_FIELD_NUMBER: _ClassVar[int]
    RUNSC_BUILD_FIELD_NUMBER: _ClassVar[int]
    architecture: str
    runsc_version: str
    platform: str
    cpu_features: _containers.RepeatedScalarFieldContainer[str]
    runsc_build: str
    def __init__(self, architecture: _Optional[str] = ..., runsc_version: _Optional[str] = ..., platform: _Optional[str] = ..., cpu_features: _Optional[_Iterable[str]] = ..., runsc_build: _Optional[str] = ...) -> None: ...

class MemoryRef(_message.Message):
    __slots__ = ("snapshot_id", "digest", "diff_id", "size_bytes", "machine")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DIFF_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    digest: str
    diff_id: str
    size_bytes: int
    machine: MachineKind
    def __init__(self, snapshot_id: _Optional[str] = ..., digest: _Optional[str] = ..., diff_id: _Optional[str] = ..., size_bytes: _Optional[int] = ..., machine: _Optional[_Union[MachineKind, _Mapping]] = ...) -> None: ...

class MemorySnapshotRequest(_message.Message):
    __slots__ = ("sandbox_id", "snapshot_id", "layer_id", "merge_layer_ids")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    LAYER_ID_FIELD_NUMBER: _ClassVar[int]
    MERGE_LAYER_IDS_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    snapshot_id: str
    layer_id: str
    merge_layer_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sandbox_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., layer_id: _Optional[str] = ..., merge_layer_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class MemorySnapshotResponse(_message.Message):
    __slots__ = ("stopped_s", "memory_bytes", "machine", "spec", "processes", "children", "ports")
    STOPPED_S_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    stopped_s: float
    memory_bytes: int
    machine: MachineKind
    spec: _common_pb2.SandboxSpec
    processes: _containers.RepeatedCompositeFieldContainer[SnapshotProcess]
    children: SnapshotChildren
    ports: SnapshotPorts
    def __init__(self, stopped_s: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., machine: _Optional[_Union[MachineKind, _Mapping]] = ..., spec: _Optional[_Union[_common_pb2.SandboxSpec, _Mapping]] = ..., processes: _Optional[_Iterable[_Union[SnapshotProcess, _Mapping]]] = ..., children: _Optional[_Union[SnapshotChildren, _Mapping]] = ..., ports: _Optional[_Union[SnapshotPorts, _Mapping]] = ...) -> None: ...

class SnapshotProcess(_message.Message):
    __slots__ = ("exec_id", "pid", "pty", "program")
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    pid: int
    pty: bool
    program: str
    def __init__(self, exec_id: _Optional[str] = ..., pid: _Optional[int] = ..., pty: bool = ..., program: _Optional[str] = ...) -> None: ...

class SnapshotChild(_message.Message):
    __slots__ = ("pid", "parent_pid", "program")
    PID_FIELD_NUMBER: _ClassVar[int]
    PARENT_PID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    pid: int
    parent_pid: int
    program: str
    def __init__(self, pid: _Optional[int] = ..., parent_pid: _Optional[int] = ..., program: _Optional[str] = ...) -> None: ...

class SnapshotChildren(_message.Message):
    __slots__ = ("children",)
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    children: _containers.RepeatedCompositeFieldContainer[SnapshotChild]
    def __init__(self, children: _Optional[_Iterable[_Union[SnapshotChild, _Mapping]]] = ...) -> None: ...

class SnapshotPort(_message.Message):
    __slots__ = ("protocol", "address", "port")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    protocol: str
    address: str
    port: int
    def __init__(self, protocol: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class SnapshotPorts(_message.Message):
    __slots__ = ("ports",)
    PORTS_FIELD_NUMBER: _ClassVar[int]
    ports: _containers.RepeatedCompositeFieldContainer[SnapshotPort]
    def __init__(self, ports: _Optional[_Iterable[_Union[SnapshotPort, _Mapping]]] = ...) -> None: ...

class MemoryStoreRequest(_message.Message):
    __slots__ = ("snapshot_id",)
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    def __init__(self, snapshot_id: _Optional[str] = ...) -> None: ...

class MemoryListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MemoryListResponse(_message.Message):
    __slots__ = ("snapshot_ids",)
    SNAPSHOT_IDS_FIELD_NUMBER: _ClassVar[int]
    snapshot_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, snapshot_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class MemoryRemoveRequest(_message.Message):
    __slots__ = ("snapshot_id",)
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    def __init__(self, snapshot_id: _Optional[str] = ...) -> None: ...

class MemoryRemoveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MemoryVerifyRequest(_message.Message):
    __slots__ = ("memory",)
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    memory: MemoryRef
    def __init__(self, memory: _Optional[_Union[MemoryRef, _Mapping]] = ...) -> None: ...

class MemoryVerifyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SnapshotInfo(_message.Message):
    __slots__ = ("snapshot_id", "sandbox_id", "parent_snapshot_id", "image_id", "created_at", "expires_at", "pinned", "memory_bytes", "stored", "stopped_s", "processes", "machine", "children", "ports")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    STOPPED_S_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    sandbox_id: str
    parent_snapshot_id: str
    image_id: str
    created_at: float
    expires_at: float
    pinned: bool
    memory_bytes: int
    stored: bool
    stopped_s: float
    processes: _containers.RepeatedCompositeFieldContainer[SnapshotProcess]
    machine: MachineKind
    children: SnapshotChildren
    ports: SnapshotPorts
    def __init__(self, snapshot_id: _Optional[str] = ..., sandbox_id: _Optional[str] = ..., parent_snapshot_id: _Optional[str] = ..., image_id: _Optional[str] = ..., created_at: _Optional[float] = ..., expires_at: _Optional[float] = ..., pinned: bool = ..., memory_bytes: _Optional[int] = ..., stored: bool = ..., stopped_s: _Optional[float] = ..., processes: _Optional[_Iterable[_Union[SnapshotProcess, _Mapping]]] = ..., machine: _Optional[_Union[MachineKind, _Mapping]] = ..., children: _Optional[_Union[SnapshotChildren, _Mapping]] = ..., ports: _Optional[_Union[SnapshotPorts, _Mapping]] = ...) -> None: ...

class SandboxSnapshotRequest(_message.Message):
    __slots__ = ("sandbox_id", "idempotency_key", "ttl_s", "timeout_s")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    idempotency_key: str
    ttl_s: float
    timeout_s: float
    def __init__(self, sandbox_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., ttl_s: _Optional[float] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class SnapshotGetRequest(_message.Message):
    __slots__ = ("snapshot_id",)
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    def __init__(self, snapshot_id: _Optional[str] = ...) -> None: ...

class SnapshotListRequest(_message.Message):
    __slots__ = ("sandbox_id", "cursor", "limit")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    cursor: str
    limit: int
    def __init__(self, sandbox_id: _Optional[str] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class SnapshotListResponse(_message.Message):
    __slots__ = ("snapshots", "next_cursor")
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[SnapshotInfo]
    next_cursor: str
    def __init__(self, snapshots: _Optional[_Iterable[_Union[SnapshotInfo, _Mapping]]] = ..., next_cursor: _Optional[str] = ...) -> None: ...

class SnapshotDeleteRequest(_message.Message):
    __slots__ = ("snapshot_id",)
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    def __init__(self, snapshot_id: _Optional[str] = ...) -> None: ...

class SnapshotDeleteResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SnapshotPinRequest(_message.Message):
    __slots__ = ("snapshot_id", "pinned", "ttl_s")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    pinned: bool
    ttl_s: float
    def __init__(self, snapshot_id: _Optional[str] = ..., pinned: bool = ..., ttl_s: _Optional[float] = ...) -> None: ...

class SnapshotVerifyRequest(_message.Message):
    __slots__ = ("snapshot_id",)
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    def __init__(self, snapshot_id: _Optional[str] = ...) -> None: ...

class SnapshotVerifyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SandboxRestoreRequest(_message.Message):
    __slots__ = ("idempotency_key", "snapshot_id", "app_id", "name", "tags", "timeout_s", "idle_timeout_s", "env", "network", "proxy", "ports")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    idempotency_key: str
    snapshot_id: str
    app_id: str
    name: str
    tags: _containers.ScalarMap[str, str]
    timeout_s: int
    idle_timeout_s: int
    env: _containers.ScalarMap[str, str]
    network: _network_pb2.NetworkPolicy
    proxy: str
    ports: PortList
    def __init__(self, idempotency_key: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., app_id: _Optional[str] = ..., name: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., timeout_s: _Optional[int] = ..., idle_timeout_s: _Optional[int] = ..., env: _Optional[_Mapping[str, str]] = ..., network: _Optional[_Union[_network_pb2.NetworkPolicy, _Mapping]] = ..., proxy: _Optional[str] = ..., ports: _Optional[_Union[PortList, _Mapping]] = ...) -> None: ...

class PortList(_message.Message):
    __slots__ = ("ports",)
    PORTS_FIELD_NUMBER: _ClassVar[int]
    ports: _containers.RepeatedCompositeFieldContainer[_common_pb2.PortSpec]
    def __init__(self, ports: _Optional[_Iterable[_Union[_common_pb2.PortSpec, _Mapping]]] = ...) -> None: ...

class SandboxPauseRequest(_message.Message):
    __slots__ = ("sandbox_id", "timeout_s")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    timeout_s: float
    def __init__(self, sandbox_id: _Optional[str] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class SandboxPauseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SandboxResumeRequest(_message.Message):
    __slots__ = ("sandbox_id", "timeout_s")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    timeout_s: float
    def __init__(self, sandbox_id: _Optional[str] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class SandboxResumeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
