from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NetworkMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NETWORK_MODE_OPEN: _ClassVar[NetworkMode]
    NETWORK_MODE_BLOCKED: _ClassVar[NetworkMode]
    NETWORK_MODE_ALLOWLIST: _ClassVar[NetworkMode]
    NETWORK_MODE_RECORD: _ClassVar[NetworkMode]

class NetworkVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NETWORK_VERDICT_UNSPECIFIED: _ClassVar[NetworkVerdict]
    NETWORK_VERDICT_ALLOWED: _ClassVar[NetworkVerdict]
    NETWORK_VERDICT_DENIED: _ClassVar[NetworkVerdict]
NETWORK_MODE_OPEN: NetworkMode
NETWORK_MODE_BLOCKED: NetworkMode
NETWORK_MODE_ALLOWLIST: NetworkMode
NETWORK_MODE_RECORD: NetworkMode
NETWORK_VERDICT_UNSPECIFIED: NetworkVerdict
NETWORK_VERDICT_ALLOWED: NetworkVerdict
NETWORK_VERDICT_DENIED: NetworkVerdict

class NetworkPolicy(_message.Message):
    __slots__ = ("mode", "cidrs", "domains", "proxy")
    MODE_FIELD_NUMBER: _ClassVar[int]
    CIDRS_FIELD_NUMBER: _ClassVar[int]
    DOMAINS_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    mode: NetworkMode
    cidrs: _containers.RepeatedScalarFieldContainer[str]
    domains: _containers.RepeatedScalarFieldContainer[str]
    proxy: str
    def __init__(self, mode: _Optional[_Union[NetworkMode, str]] = ..., cidrs: _Optional[_Iterable[str]] = ..., domains: _Optional[_Iterable[str]] = ..., proxy: _Optional[str] = ...) -> None: ...

class SandboxNetworkUpdateRequest(_message.Message):
    __slots__ = ("sandbox_id", "policy")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    policy: NetworkPolicy
    def __init__(self, sandbox_id: _Optional[str] = ..., policy: _Optional[_Union[NetworkPolicy, _Mapping]] = ...) -> None: ...

class SandboxNetworkUpdateResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: NetworkPolicy
    def __init__(self, policy: _Optional[_Union[NetworkPolicy, _Mapping]] = ...) -> None: ...

class NetworkRecord(_message.Message):
    __slots__ = ("cursor", "first_at", "last_at", "count", "verdict", "protocol", "address", "port", "name", "rule", "remedy")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    FIRST_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_AT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    first_at: float
    last_at: float
    count: int
    verdict: NetworkVerdict
    protocol: str
    address: str
    port: int
    name: str
    rule: str
    remedy: str
    def __init__(self, cursor: _Optional[int] = ..., first_at: _Optional[float] = ..., last_at: _Optional[float] = ..., count: _Optional[int] = ..., verdict: _Optional[_Union[NetworkVerdict, str]] = ..., protocol: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., name: _Optional[str] = ..., rule: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class NetworkLogRequest(_message.Message):
    __slots__ = ("sandbox_id", "cursor", "follow")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    cursor: int
    follow: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., cursor: _Optional[int] = ..., follow: bool = ...) -> None: ...

class NetworkLogChunk(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[NetworkRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[NetworkRecord, _Mapping]]] = ...) -> None: ...

class NetworkGetRequest(_message.Message):
    __slots__ = ("sandbox_id",)
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    def __init__(self, sandbox_id: _Optional[str] = ...) -> None: ...

class NetworkSummary(_message.Message):
    __slots__ = ("policy", "cidrs", "domains", "allowed", "denied", "forgotten")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CIDRS_FIELD_NUMBER: _ClassVar[int]
    DOMAINS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    policy: NetworkPolicy
    cidrs: _containers.RepeatedScalarFieldContainer[str]
    domains: _containers.RepeatedScalarFieldContainer[str]
    allowed: int
    denied: int
    forgotten: int
    def __init__(self, policy: _Optional[_Union[NetworkPolicy, _Mapping]] = ..., cidrs: _Optional[_Iterable[str]] = ..., domains: _Optional[_Iterable[str]] = ..., allowed: _Optional[int] = ..., denied: _Optional[int] = ..., forgotten: _Optional[int] = ...) -> None: ...
