from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LayerRef(_message.Message):
    __slots__ = ("layer_id", "base", "digest", "diff_id", "size_bytes", "foreign")
    LAYER_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DIFF_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_FIELD_NUMBER: _ClassVar[int]
    layer_id: str
    base: str
    digest: str
    diff_id: str
    size_bytes: int
    foreign: bool
    def __init__(self, layer_id: _Optional[str] = ..., base: _Optional[str] = ..., digest: _Optional[str] = ..., diff_id: _Optional[str] = ..., size_bytes: _Optional[int] = ..., foreign: bool = ...) -> None: ...

class ImageConfig(_message.Message):
    __slots__ = ("env", "workdir", "user", "entrypoint", "cmd", "shell", "labels", "exposed_ports", "healthcheck")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ENV_FIELD_NUMBER: _ClassVar[int]
    WORKDIR_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    CMD_FIELD_NUMBER: _ClassVar[int]
    SHELL_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    EXPOSED_PORTS_FIELD_NUMBER: _ClassVar[int]
    HEALTHCHECK_FIELD_NUMBER: _ClassVar[int]
    env: _containers.ScalarMap[str, str]
    workdir: str
    user: str
    entrypoint: _containers.RepeatedScalarFieldContainer[str]
    cmd: _containers.RepeatedScalarFieldContainer[str]
    shell: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    exposed_ports: _containers.RepeatedScalarFieldContainer[str]
    healthcheck: str
    def __init__(self, env: _Optional[_Mapping[str, str]] = ..., workdir: _Optional[str] = ..., user: _Optional[str] = ..., entrypoint: _Optional[_Iterable[str]] = ..., cmd: _Optional[_Iterable[str]] = ..., shell: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., exposed_ports: _Optional[_Iterable[str]] = ..., healthcheck: _Optional[str] = ...) -> None: ...

class ImageManifest(_message.Message):
    __slots__ = ("image_id", "layers", "config")
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    image_id: str
    layers: _containers.RepeatedCompositeFieldContainer[LayerRef]
    config: ImageConfig
    def __init__(self, image_id: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[LayerRef, _Mapping]]] = ..., config: _Optional[_Union[ImageConfig, _Mapping]] = ...) -> None: ...

class ContextFile(_message.Message):
    __slots__ = ("path", "mode", "sha256", "size_bytes", "link_target")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    mode: int
    sha256: bytes
    size_bytes: int
    link_target: bytes
    def __init__(self, path: _Optional[bytes] = ..., mode: _Optional[int] = ..., sha256: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., link_target: _Optional[bytes] = ...) -> None: ...

class RegistryImage(_message.Message):
    __slots__ = ("reference", "kind", "secret")
    class SecretEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    reference: str
    kind: str
    secret: _containers.ScalarMap[str, str]
    def __init__(self, reference: _Optional[str] = ..., kind: _Optional[str] = ..., secret: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ImageLayer(_message.Message):
    __slots__ = ("commands", "context", "build_args", "secrets", "force_build", "env")
    class BuildArgsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SecretsEntry(_message.Message):
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
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    BUILD_ARGS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    FORCE_BUILD_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    commands: _containers.RepeatedScalarFieldContainer[str]
    context: _containers.RepeatedCompositeFieldContainer[ContextFile]
    build_args: _containers.ScalarMap[str, str]
    secrets: _containers.ScalarMap[str, str]
    force_build: bool
    env: _containers.ScalarMap[str, str]
    def __init__(self, commands: _Optional[_Iterable[str]] = ..., context: _Optional[_Iterable[_Union[ContextFile, _Mapping]]] = ..., build_args: _Optional[_Mapping[str, str]] = ..., secrets: _Optional[_Mapping[str, str]] = ..., force_build: bool = ..., env: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ImageDefinition(_message.Message):
    __slots__ = ("debian", "registry", "image_id", "rootfs_path", "layers")
    DEBIAN_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    ROOTFS_PATH_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    debian: str
    registry: RegistryImage
    image_id: str
    rootfs_path: str
    layers: _containers.RepeatedCompositeFieldContainer[ImageLayer]
    def __init__(self, debian: _Optional[str] = ..., registry: _Optional[_Union[RegistryImage, _Mapping]] = ..., image_id: _Optional[str] = ..., rootfs_path: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[ImageLayer, _Mapping]]] = ...) -> None: ...

class ImageBuildRequest(_message.Message):
    __slots__ = ("app_id", "definition", "force_build", "ignore_cache")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    FORCE_BUILD_FIELD_NUMBER: _ClassVar[int]
    IGNORE_CACHE_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    definition: ImageDefinition
    force_build: bool
    ignore_cache: bool
    def __init__(self, app_id: _Optional[str] = ..., definition: _Optional[_Union[ImageDefinition, _Mapping]] = ..., force_build: bool = ..., ignore_cache: bool = ...) -> None: ...

class ImageBuildEvent(_message.Message):
    __slots__ = ("log", "image")
    LOG_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    log: ImageBuildLog
    image: ImageInfo
    def __init__(self, log: _Optional[_Union[ImageBuildLog, _Mapping]] = ..., image: _Optional[_Union[ImageInfo, _Mapping]] = ...) -> None: ...

class ImageBuildLog(_message.Message):
    __slots__ = ("layer", "data", "status")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    layer: int
    data: bytes
    status: str
    def __init__(self, layer: _Optional[int] = ..., data: _Optional[bytes] = ..., status: _Optional[str] = ...) -> None: ...

class ImageInfo(_message.Message):
    __slots__ = ("image_id", "created_at", "source", "description", "parent_image_id", "layers", "size_bytes", "stored", "config", "sandbox_id")
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PARENT_IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    image_id: str
    created_at: float
    source: str
    description: str
    parent_image_id: str
    layers: int
    size_bytes: int
    stored: bool
    config: ImageConfig
    sandbox_id: str
    def __init__(self, image_id: _Optional[str] = ..., created_at: _Optional[float] = ..., source: _Optional[str] = ..., description: _Optional[str] = ..., parent_image_id: _Optional[str] = ..., layers: _Optional[int] = ..., size_bytes: _Optional[int] = ..., stored: bool = ..., config: _Optional[_Union[ImageConfig, _Mapping]] = ..., sandbox_id: _Optional[str] = ...) -> None: ...

class ImageGetRequest(_message.Message):
    __slots__ = ("image_id",)
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    image_id: str
    def __init__(self, image_id: _Optional[str] = ...) -> None: ...

class ImageListRequest(_message.Message):
    __slots__ = ("cursor", "limit")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    limit: int
    def __init__(self, cursor: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ImageListResponse(_message.Message):
    __slots__ = ("images", "next_cursor")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[ImageInfo]
    next_cursor: str
    def __init__(self, images: _Optional[_Iterable[_Union[ImageInfo, _Mapping]]] = ..., next_cursor: _Optional[str] = ...) -> None: ...

class ImageDeleteRequest(_message.Message):
    __slots__ = ("image_id",)
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    image_id: str
    def __init__(self, image_id: _Optional[str] = ...) -> None: ...

class ImageDeleteResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ImagePruneRequest(_message.Message):
    __slots__ = ("dry_run", "older_than_s")
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    OLDER_THAN_S_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    older_than_s: float
    def __init__(self, dry_run: bool = ..., older_than_s: _Optional[float] = ...) -> None: ...

class ImagePruneResponse(_message.Message):
    __slots__ = ("image_ids", "blobs", "bytes")
    IMAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    image_ids: _containers.RepeatedScalarFieldContainer[str]
    blobs: int
    bytes: int
    def __init__(self, image_ids: _Optional[_Iterable[str]] = ..., blobs: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class ImagePushRequest(_message.Message):
    __slots__ = ("image_id", "target")
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    image_id: str
    target: RegistryImage
    def __init__(self, image_id: _Optional[str] = ..., target: _Optional[_Union[RegistryImage, _Mapping]] = ...) -> None: ...

class ImagePushEvent(_message.Message):
    __slots__ = ("status", "digest")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    status: str
    digest: str
    def __init__(self, status: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class BlobsMissingRequest(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, sha256: _Optional[_Iterable[bytes]] = ...) -> None: ...

class BlobsMissingResponse(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, sha256: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SandboxSnapshotFilesystemRequest(_message.Message):
    __slots__ = ("sandbox_id", "idempotency_key", "timeout_s")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    idempotency_key: str
    timeout_s: float
    def __init__(self, sandbox_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class FileChange(_message.Message):
    __slots__ = ("path", "kind")
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    kind: str
    def __init__(self, path: _Optional[bytes] = ..., kind: _Optional[str] = ...) -> None: ...

class FileChanges(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[FileChange]
    def __init__(self, changes: _Optional[_Iterable[_Union[FileChange, _Mapping]]] = ...) -> None: ...

class ImageDiffRequest(_message.Message):
    __slots__ = ("old_image_id", "new_image_id")
    OLD_IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    NEW_IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    old_image_id: str
    new_image_id: str
    def __init__(self, old_image_id: _Optional[str] = ..., new_image_id: _Optional[str] = ...) -> None: ...

class SandboxDiffRequest(_message.Message):
    __slots__ = ("sandbox_id",)
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    def __init__(self, sandbox_id: _Optional[str] = ...) -> None: ...
