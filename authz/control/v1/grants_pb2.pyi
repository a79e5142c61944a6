import datetime

from authz.control.v1 import common_pb2 as _common_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GrantState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRANT_STATE_UNSPECIFIED: _ClassVar[GrantState]
    GRANT_STATE_ACTIVE: _ClassVar[GrantState]
    GRANT_STATE_EXPIRED: _ClassVar[GrantState]
    GRANT_STATE_COMPLETED: _ClassVar[GrantState]
    GRANT_STATE_REVOKED: _ClassVar[GrantState]
GRANT_STATE_UNSPECIFIED: GrantState
GRANT_STATE_ACTIVE: GrantState
GRANT_STATE_EXPIRED: GrantState
GRANT_STATE_COMPLETED: GrantState
GRANT_STATE_REVOKED: GrantState

class Grant(_message.Message):
    __slots__ = ("id", "holder", "task", "permissions", "audience", "issued_by", "issued_at", "not_before", "expires_at", "uses", "certificate_sha256", "parent_id", "delegators", "state", "limits")
    ID_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    ISSUED_BY_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    DELEGATORS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    id: str
    holder: str
    task: _common_pb2.Task
    permissions: _containers.RepeatedCompositeFieldContainer[_common_pb2.Permission]
    audience: str
    issued_by: str
    issued_at: _timestamp_pb2.Timestamp
    not_before: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    uses: int
    certificate_sha256: str
    parent_id: str
    delegators: _containers.RepeatedScalarFieldContainer[str]
    state: GrantState
    limits: TaskLimits
    def __init__(self, id: _Optional[str] = ..., holder: _Optional[str] = ..., task: _Optional[_Union[_common_pb2.Task, _Mapping]] = ..., permissions: _Optional[_Iterable[_Union[_common_pb2.Permission, _Mapping]]] = ..., audience: _Optional[str] = ..., issued_by: _Optional[str] = ..., issued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., uses: _Optional[int] = ..., certificate_sha256: _Optional[str] = ..., parent_id: _Optional[str] = ..., delegators: _Optional[_Iterable[str]] = ..., state: _Optional[_Union[GrantState, str]] = ..., limits: _Optional[_Union[TaskLimits, _Mapping]] = ...) -> None: ...

class TaskLimits(_message.Message):
    __slots__ = ("calls", "resources", "sums")
    class SumsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CALLS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    calls: int
    resources: int
    sums: _containers.ScalarMap[str, str]
    def __init__(self, calls: _Optional[int] = ..., resources: _Optional[int] = ..., sums: _Optional[_Mapping[str, str]] = ...) -> None: ...

class IssueRequest(_message.Message):
    __slots__ = ("holder", "task", "permissions", "ttl", "uses", "audience", "bind_certificate", "certificate_sha256", "not_before", "idempotency_key", "limits")
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    BIND_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    holder: str
    task: _common_pb2.Task
    permissions: _containers.RepeatedCompositeFieldContainer[_common_pb2.Permission]
    ttl: _duration_pb2.Duration
    uses: int
    audience: str
    bind_certificate: bool
    certificate_sha256: str
    not_before: _timestamp_pb2.Timestamp
    idempotency_key: str
    limits: TaskLimits
    def __init__(self, holder: _Optional[str] = ..., task: _Optional[_Union[_common_pb2.Task, _Mapping]] = ..., permissions: _Optional[_Iterable[_Union[_common_pb2.Permission, _Mapping]]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., uses: _Optional[int] = ..., audience: _Optional[str] = ..., bind_certificate: _Optional[bool] = ..., certificate_sha256: _Optional[str] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., limits: _Optional[_Union[TaskLimits, _Mapping]] = ...) -> None: ...

class IssueResponse(_message.Message):
    __slots__ = ("grant", "token", "header")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    grant: Grant
    token: str
    header: str
    def __init__(self, grant: _Optional[_Union[Grant, _Mapping]] = ..., token: _Optional[str] = ..., header: _Optional[str] = ...) -> None: ...

class ExchangeRequest(_message.Message):
    __slots__ = ("subject_token", "actor_token", "permissions", "ttl", "uses", "audience", "bind_certificate", "idempotency_key", "limits")
    SUBJECT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ACTOR_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    BIND_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    subject_token: str
    actor_token: str
    permissions: _containers.RepeatedCompositeFieldContainer[_common_pb2.Permission]
    ttl: _duration_pb2.Duration
    uses: int
    audience: str
    bind_certificate: bool
    idempotency_key: str
    limits: TaskLimits
    def __init__(self, subject_token: _Optional[str] = ..., actor_token: _Optional[str] = ..., permissions: _Optional[_Iterable[_Union[_common_pb2.Permission, _Mapping]]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., uses: _Optional[int] = ..., audience: _Optional[str] = ..., bind_certificate: _Optional[bool] = ..., idempotency_key: _Optional[str] = ..., limits: _Optional[_Union[TaskLimits, _Mapping]] = ...) -> None: ...

class ExchangeResponse(_message.Message):
    __slots__ = ("grant", "token", "header")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    grant: Grant
    token: str
    header: str
    def __init__(self, grant: _Optional[_Union[Grant, _Mapping]] = ..., token: _Optional[str] = ..., header: _Optional[str] = ...) -> None: ...

class IntrospectRequest(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...

class IntrospectResponse(_message.Message):
    __slots__ = ("active", "grant")
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    active: bool
    grant: Grant
    def __init__(self, active: _Optional[bool] = ..., grant: _Optional[_Union[Grant, _Mapping]] = ...) -> None: ...

class CompleteRequest(_message.Message):
    __slots__ = ("task_id", "outcome", "idempotency_key")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    outcome: str
    idempotency_key: str
    def __init__(self, task_id: _Optional[str] = ..., outcome: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class CompleteResponse(_message.Message):
    __slots__ = ("completed_at",)
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    completed_at: _timestamp_pb2.Timestamp
    def __init__(self, completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RevokeRequest(_message.Message):
    __slots__ = ("grant_id", "reason", "idempotency_key")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    grant_id: str
    reason: str
    idempotency_key: str
    def __init__(self, grant_id: _Optional[str] = ..., reason: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class RevokeResponse(_message.Message):
    __slots__ = ("revocation_id",)
    REVOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    revocation_id: str
    def __init__(self, revocation_id: _Optional[str] = ...) -> None: ...

class ListGrantsRequest(_message.Message):
    __slots__ = ("holder", "task_id", "active_only", "grant_id", "page")
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_ONLY_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    holder: str
    task_id: str
    active_only: bool
    grant_id: str
    page: _common_pb2.PageRequest
    def __init__(self, holder: _Optional[str] = ..., task_id: _Optional[str] = ..., active_only: _Optional[bool] = ..., grant_id: _Optional[str] = ..., page: _Optional[_Union[_common_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListGrantsResponse(_message.Message):
    __slots__ = ("grants", "next_page_token")
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    grants: _containers.RepeatedCompositeFieldContainer[Grant]
    next_page_token: str
    def __init__(self, grants: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchGrantsRequest(_message.Message):
    __slots__ = ("holder", "task_id")
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    holder: str
    task_id: str
    def __init__(self, holder: _Optional[str] = ..., task_id: _Optional[str] = ...) -> None: ...

class GrantEvent(_message.Message):
    __slots__ = ("kind", "at", "grant", "grant_id", "task_id")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[GrantEvent.Kind]
        KIND_WATCHING: _ClassVar[GrantEvent.Kind]
        KIND_ISSUED: _ClassVar[GrantEvent.Kind]
        KIND_COMPLETED: _ClassVar[GrantEvent.Kind]
        KIND_REVOKED: _ClassVar[GrantEvent.Kind]
    KIND_UNSPECIFIED: GrantEvent.Kind
    KIND_WATCHING: GrantEvent.Kind
    KIND_ISSUED: GrantEvent.Kind
    KIND_COMPLETED: GrantEvent.Kind
    KIND_REVOKED: GrantEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    kind: GrantEvent.Kind
    at: _timestamp_pb2.Timestamp
    grant: Grant
    grant_id: str
    task_id: str
    def __init__(self, kind: _Optional[_Union[GrantEvent.Kind, str]] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., grant: _Optional[_Union[Grant, _Mapping]] = ..., grant_id: _Optional[str] = ..., task_id: _Optional[str] = ...) -> None: ...
