import datetime

from authz.control.v1 import common_pb2 as _common_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RevocationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVOCATION_KIND_UNSPECIFIED: _ClassVar[RevocationKind]
    REVOCATION_KIND_GRANT: _ClassVar[RevocationKind]
    REVOCATION_KIND_TASK: _ClassVar[RevocationKind]
    REVOCATION_KIND_PRINCIPAL: _ClassVar[RevocationKind]
    REVOCATION_KIND_CERTIFICATE: _ClassVar[RevocationKind]
    REVOCATION_KIND_TRUST_DOMAIN: _ClassVar[RevocationKind]
    REVOCATION_KIND_ISSUED_BEFORE: _ClassVar[RevocationKind]

class CutOff(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CUT_OFF_UNSPECIFIED: _ClassVar[CutOff]
    CUT_OFF_EVERYBODY: _ClassVar[CutOff]
    CUT_OFF_PRINCIPAL: _ClassVar[CutOff]
    CUT_OFF_ISSUER: _ClassVar[CutOff]
REVOCATION_KIND_UNSPECIFIED: RevocationKind
REVOCATION_KIND_GRANT: RevocationKind
REVOCATION_KIND_TASK: RevocationKind
REVOCATION_KIND_PRINCIPAL: RevocationKind
REVOCATION_KIND_CERTIFICATE: RevocationKind
REVOCATION_KIND_TRUST_DOMAIN: RevocationKind
REVOCATION_KIND_ISSUED_BEFORE: RevocationKind
CUT_OFF_UNSPECIFIED: CutOff
CUT_OFF_EVERYBODY: CutOff
CUT_OFF_PRINCIPAL: CutOff
CUT_OFF_ISSUER: CutOff

class Revocation(_message.Message):
    __slots__ = ("id", "kind", "value", "reason", "author", "created_at", "expires_at", "cut_off", "before", "undone_at", "undone_by")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CUT_OFF_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    UNDONE_AT_FIELD_NUMBER: _ClassVar[int]
    UNDONE_BY_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: RevocationKind
    value: str
    reason: str
    author: str
    created_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    cut_off: CutOff
    before: _timestamp_pb2.Timestamp
    undone_at: _timestamp_pb2.Timestamp
    undone_by: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[RevocationKind, str]] = ..., value: _Optional[str] = ..., reason: _Optional[str] = ..., author: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cut_off: _Optional[_Union[CutOff, str]] = ..., before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., undone_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., undone_by: _Optional[str] = ...) -> None: ...

class CreateRevocationRequest(_message.Message):
    __slots__ = ("kind", "value", "reason", "expires_at", "idempotency_key", "cut_off", "before")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    CUT_OFF_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    kind: RevocationKind
    value: str
    reason: str
    expires_at: _timestamp_pb2.Timestamp
    idempotency_key: str
    cut_off: CutOff
    before: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[_Union[RevocationKind, str]] = ..., value: _Optional[str] = ..., reason: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., cut_off: _Optional[_Union[CutOff, str]] = ..., before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateRevocationResponse(_message.Message):
    __slots__ = ("revocation",)
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    revocation: Revocation
    def __init__(self, revocation: _Optional[_Union[Revocation, _Mapping]] = ...) -> None: ...

class UndoRequest(_message.Message):
    __slots__ = ("revocation_id", "reason")
    REVOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    revocation_id: str
    reason: str
    def __init__(self, revocation_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class UndoResponse(_message.Message):
    __slots__ = ("revocation",)
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    revocation: Revocation
    def __init__(self, revocation: _Optional[_Union[Revocation, _Mapping]] = ...) -> None: ...

class ListRevocationsRequest(_message.Message):
    __slots__ = ("kind", "with_ended", "page")
    KIND_FIELD_NUMBER: _ClassVar[int]
    WITH_ENDED_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    kind: RevocationKind
    with_ended: bool
    page: _common_pb2.PageRequest
    def __init__(self, kind: _Optional[_Union[RevocationKind, str]] = ..., with_ended: _Optional[bool] = ..., page: _Optional[_Union[_common_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListRevocationsResponse(_message.Message):
    __slots__ = ("revocations", "next_page_token", "lockdown")
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOCKDOWN_FIELD_NUMBER: _ClassVar[int]
    revocations: _containers.RepeatedCompositeFieldContainer[Revocation]
    next_page_token: str
    lockdown: Lockdown
    def __init__(self, revocations: _Optional[_Iterable[_Union[Revocation, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., lockdown: _Optional[_Union[Lockdown, _Mapping]] = ...) -> None: ...

class WatchRevocationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RevocationEvent(_message.Message):
    __slots__ = ("kind", "at", "revocation", "lockdown")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[RevocationEvent.Kind]
        KIND_WATCHING: _ClassVar[RevocationEvent.Kind]
        KIND_CREATED: _ClassVar[RevocationEvent.Kind]
        KIND_UNDONE: _ClassVar[RevocationEvent.Kind]
        KIND_LOCKDOWN_STARTED: _ClassVar[RevocationEvent.Kind]
        KIND_LOCKDOWN_ENDED: _ClassVar[RevocationEvent.Kind]
    KIND_UNSPECIFIED: RevocationEvent.Kind
    KIND_WATCHING: RevocationEvent.Kind
    KIND_CREATED: RevocationEvent.Kind
    KIND_UNDONE: RevocationEvent.Kind
    KIND_LOCKDOWN_STARTED: RevocationEvent.Kind
    KIND_LOCKDOWN_ENDED: RevocationEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    LOCKDOWN_FIELD_NUMBER: _ClassVar[int]
    kind: RevocationEvent.Kind
    at: _timestamp_pb2.Timestamp
    revocation: Revocation
    lockdown: Lockdown
    def __init__(self, kind: _Optional[_Union[RevocationEvent.Kind, str]] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revocation: _Optional[_Union[Revocation, _Mapping]] = ..., lockdown: _Optional[_Union[Lockdown, _Mapping]] = ...) -> None: ...

class Lockdown(_message.Message):
    __slots__ = ("id", "except_principals", "reason", "author", "started_at", "until")
    ID_FIELD_NUMBER: _ClassVar[int]
    EXCEPT_PRINCIPALS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    id: str
    except_principals: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    author: str
    started_at: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., except_principals: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ..., author: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StartLockdownRequest(_message.Message):
    __slots__ = ("except_principals", "reason", "until")
    EXCEPT_PRINCIPALS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    except_principals: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    until: _timestamp_pb2.Timestamp
    def __init__(self, except_principals: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StartLockdownResponse(_message.Message):
    __slots__ = ("lockdown",)
    LOCKDOWN_FIELD_NUMBER: _ClassVar[int]
    lockdown: Lockdown
    def __init__(self, lockdown: _Optional[_Union[Lockdown, _Mapping]] = ...) -> None: ...

class EndLockdownRequest(_message.Message):
    __slots__ = ("lockdown_id", "reason")
    LOCKDOWN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lockdown_id: str
    reason: str
    def __init__(self, lockdown_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class EndLockdownResponse(_message.Message):
    __slots__ = ("lockdown",)
    LOCKDOWN_FIELD_NUMBER: _ClassVar[int]
    lockdown: Lockdown
    def __init__(self, lockdown: _Optional[_Union[Lockdown, _Mapping]] = ...) -> None: ...
