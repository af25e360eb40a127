from cove.wire import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TunnelInfo(_message.Message):
    __slots__ = ("spec", "url", "tls_host", "tls_port", "tcp_host", "tcp_port")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    TLS_HOST_FIELD_NUMBER: _ClassVar[int]
    TLS_PORT_FIELD_NUMBER: _ClassVar[int]
    TCP_HOST_FIELD_NUMBER: _ClassVar[int]
    TCP_PORT_FIELD_NUMBER: _ClassVar[int]
    spec: _common_pb2.PortSpec
    url: str
    tls_host: str
    tls_port: int
    tcp_host: str
    tcp_port: int
    def __init__(self, spec: _Optional[_Union[_common_pb2.PortSpec, _Mapping]] = ..., url: _Optional[str] = ..., tls_host: _Optional[str] = ..., tls_port: _Optional[int] = ..., tcp_host: _Optional[str] = ..., tcp_port: _Optional[int] = ...) -> None: ...

class SandboxTunnelsRequest(_message.Message):
    __slots__ = ("sandbox_id", "timeout_s")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    timeout_s: float
    def __init__(self, sandbox_id: _Optional[str] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class SandboxTunnelsResponse(_message.Message):
    __slots__ = ("tunnels",)
    TUNNELS_FIELD_NUMBER: _ClassVar[int]
    tunnels: _containers.RepeatedCompositeFieldContainer[TunnelInfo]
    def __init__(self, tunnels: _Optional[_Iterable[_Union[TunnelInfo, _Mapping]]] = ...) -> None: ...

class SandboxPortOpenRequest(_message.Message):
    __slots__ = ("sandbox_id", "spec", "timeout_s")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    spec: _common_pb2.PortSpec
    timeout_s: float
    def __init__(self, sandbox_id: _Optional[str] = ..., spec: _Optional[_Union[_common_pb2.PortSpec, _Mapping]] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class SandboxPortOpenResponse(_message.Message):
    __slots__ = ("tunnel",)
    TUNNEL_FIELD_NUMBER: _ClassVar[int]
    tunnel: TunnelInfo
    def __init__(self, tunnel: _Optional[_Union[TunnelInfo, _Mapping]] = ...) -> None: ...

class SandboxPortCloseRequest(_message.Message):
    __slots__ = ("sandbox_id", "port")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    port: int
    def __init__(self, sandbox_id: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class SandboxPortCloseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConnectTokenCreateRequest(_message.Message):
    __slots__ = ("sandbox_id", "user_metadata", "lifetime_s", "idempotency_key")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    USER_METADATA_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_S_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    user_metadata: str
    lifetime_s: int
    idempotency_key: str
    def __init__(self, sandbox_id: _Optional[str] = ..., user_metadata: _Optional[str] = ..., lifetime_s: _Optional[int] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class ConnectTokenCreateResponse(_message.Message):
    __slots__ = ("token_id", "token", "url", "expires_at")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    token: str
    url: str
    expires_at: float
    def __init__(self, token_id: _Optional[str] = ..., token: _Optional[str] = ..., url: _Optional[str] = ..., expires_at: _Optional[float] = ...) -> None: ...

class ConnectTokenInfo(_message.Message):
    __slots__ = ("token_id", "user_metadata", "created_at", "expires_at", "revoked")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    USER_METADATA_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    user_metadata: str
    created_at: float
    expires_at: float
    revoked: bool
    def __init__(self, token_id: _Optional[str] = ..., user_metadata: _Optional[str] = ..., created_at: _Optional[float] = ..., expires_at: _Optional[float] = ..., revoked: bool = ...) -> None: ...

class ConnectTokenListRequest(_message.Message):
    __slots__ = ("sandbox_id",)
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    def __init__(self, sandbox_id: _Optional[str] = ...) -> None: ...

class ConnectTokenListResponse(_message.Message):
    __slots__ = ("tokens",)
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[ConnectTokenInfo]
    def __init__(self, tokens: _Optional[_Iterable[_Union[ConnectTokenInfo, _Mapping]]] = ...) -> None: ...

class ConnectTokenRevokeRequest(_message.Message):
    __slots__ = ("token_id",)
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    def __init__(self, token_id: _Optional[str] = ...) -> None: ...

class ConnectTokenRevokeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
