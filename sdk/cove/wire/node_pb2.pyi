from cove.wire import common_pb2 as _common_pb2
from cove.wire import image_pb2 as _image_pb2
from cove.wire import snapshot_pb2 as _snapshot_pb2
from cove.wire import network_pb2 as _network_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeCreateRequest(_message.Message):
    __slots__ = ("sandbox_id", "task_id", "spec", "image", "build", "restore")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    task_id: str
    spec: _common_pb2.SandboxSpec
    image: _image_pb2.ImageManifest
    build: bool
    restore: _snapshot_pb2.MemoryRef
    def __init__(self, sandbox_id: _Optional[str] = ..., task_id: _Optional[str] = ..., spec: _Optional[_Union[_common_pb2.SandboxSpec, _Mapping]] = ..., image: _Optional[_Union[_image_pb2.ImageManifest, _Mapping]] = ..., build: bool = ..., restore: _Optional[_Union[_snapshot_pb2.MemoryRef, _Mapping]] = ...) -> None: ...

class NodeCreateResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeTerminateRequest(_message.Message):
    __slots__ = ("sandbox_id",)
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    def __init__(self, sandbox_id: _Optional[str] = ...) -> None: ...

class NodeTerminateResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeStatusRequest(_message.Message):
    __slots__ = ("sandbox_id",)
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    def __init__(self, sandbox_id: _Optional[str] = ...) -> None: ...

class NodeListSandboxesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeListSandboxesResponse(_message.Message):
    __slots__ = ("sandboxes",)
    SANDBOXES_FIELD_NUMBER: _ClassVar[int]
    sandboxes: _containers.RepeatedCompositeFieldContainer[_common_pb2.SandboxStatus]
    def __init__(self, sandboxes: _Optional[_Iterable[_Union[_common_pb2.SandboxStatus, _Mapping]]] = ...) -> None: ...

class LayerSnapshotRequest(_message.Message):
    __slots__ = ("sandbox_id", "layer_id", "merge_layer_ids")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    LAYER_ID_FIELD_NUMBER: _ClassVar[int]
    MERGE_LAYER_IDS_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    layer_id: str
    merge_layer_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sandbox_id: _Optional[str] = ..., layer_id: _Optional[str] = ..., merge_layer_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class LayerSnapshotResponse(_message.Message):
    __slots__ = ("stopped_s", "bytes")
    STOPPED_S_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    stopped_s: float
    bytes: int
    def __init__(self, stopped_s: _Optional[float] = ..., bytes: _Optional[int] = ...) -> None: ...

class LayerStoreRequest(_message.Message):
    __slots__ = ("layer",)
    LAYER_FIELD_NUMBER: _ClassVar[int]
    layer: _image_pb2.LayerRef
    def __init__(self, layer: _Optional[_Union[_image_pb2.LayerRef, _Mapping]] = ...) -> None: ...

class LayerListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LayerListResponse(_message.Message):
    __slots__ = ("layer_ids",)
    LAYER_IDS_FIELD_NUMBER: _ClassVar[int]
    layer_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, layer_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class LayerRemoveRequest(_message.Message):
    __slots__ = ("layer_id",)
    LAYER_ID_FIELD_NUMBER: _ClassVar[int]
    layer_id: str
    def __init__(self, layer_id: _Optional[str] = ...) -> None: ...

class LayerRemoveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeDiffRequest(_message.Message):
    __slots__ = ("old", "new", "sandbox_id")
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    old: _image_pb2.ImageManifest
    new: _image_pb2.ImageManifest
    sandbox_id: str
    def __init__(self, old: _Optional[_Union[_image_pb2.ImageManifest, _Mapping]] = ..., new: _Optional[_Union[_image_pb2.ImageManifest, _Mapping]] = ..., sandbox_id: _Optional[str] = ...) -> None: ...

class RegisterRequest(_message.Message):
    __slots__ = ("node_id", "grpc_address", "http_url", "capacity", "version", "runsc_version", "debian_pythons", "proxies", "runsc_builds")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    GRPC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HTTP_URL_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RUNSC_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEBIAN_PYTHONS_FIELD_NUMBER: _ClassVar[int]
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    RUNSC_BUILDS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    grpc_address: str
    http_url: str
    capacity: _common_pb2.Resources
    version: str
    runsc_version: str
    debian_pythons: _containers.RepeatedScalarFieldContainer[str]
    proxies: _containers.RepeatedScalarFieldContainer[str]
    runsc_builds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node_id: _Optional[str] = ..., grpc_address: _Optional[str] = ..., http_url: _Optional[str] = ..., capacity: _Optional[_Union[_common_pb2.Resources, _Mapping]] = ..., version: _Optional[str] = ..., runsc_version: _Optional[str] = ..., debian_pythons: _Optional[_Iterable[str]] = ..., proxies: _Optional[_Iterable[str]] = ..., runsc_builds: _Optional[_Iterable[str]] = ...) -> None: ...

class RegisterResponse(_message.Message):
    __slots__ = ("session_token", "router_public_key", "report_interval_s", "http_url")
    SESSION_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ROUTER_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    REPORT_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    HTTP_URL_FIELD_NUMBER: _ClassVar[int]
    session_token: str
    router_public_key: bytes
    report_interval_s: float
    http_url: str
    def __init__(self, session_token: _Optional[str] = ..., router_public_key: _Optional[bytes] = ..., report_interval_s: _Optional[float] = ..., http_url: _Optional[str] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("node_id", "sequence", "complete", "sandboxes", "reserved", "draining", "spares", "freeing")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    SANDBOXES_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SPARES_FIELD_NUMBER: _ClassVar[int]
    FREEING_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    sequence: int
    complete: bool
    sandboxes: _containers.RepeatedCompositeFieldContainer[_common_pb2.SandboxStatus]
    reserved: _common_pb2.Resources
    draining: bool
    spares: SpareList
    freeing: int
    def __init__(self, node_id: _Optional[str] = ..., sequence: _Optional[int] = ..., complete: bool = ..., sandboxes: _Optional[_Iterable[_Union[_common_pb2.SandboxStatus, _Mapping]]] = ..., reserved: _Optional[_Union[_common_pb2.Resources, _Mapping]] = ..., draining: bool = ..., spares: _Optional[_Union[SpareList, _Mapping]] = ..., freeing: _Optional[int] = ...) -> None: ...

class SpareList(_message.Message):
    __slots__ = ("spares", "warm", "cold")
    SPARES_FIELD_NUMBER: _ClassVar[int]
    WARM_FIELD_NUMBER: _ClassVar[int]
    COLD_FIELD_NUMBER: _ClassVar[int]
    spares: _containers.RepeatedCompositeFieldContainer[Spare]
    warm: int
    cold: int
    def __init__(self, spares: _Optional[_Iterable[_Union[Spare, _Mapping]]] = ..., warm: _Optional[int] = ..., cold: _Optional[int] = ...) -> None: ...

class Spare(_message.Message):
    __slots__ = ("sandbox_id", "shape")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    shape: str
    def __init__(self, sandbox_id: _Optional[str] = ..., shape: _Optional[str] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("register_again",)
    REGISTER_AGAIN_FIELD_NUMBER: _ClassVar[int]
    register_again: bool
    def __init__(self, register_again: bool = ...) -> None: ...
