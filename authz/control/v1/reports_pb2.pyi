import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SharedIdentitiesRequest(_message.Message):
    __slots__ = ("unused_for", "max_entries")
    UNUSED_FOR_FIELD_NUMBER: _ClassVar[int]
    MAX_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    unused_for: _duration_pb2.Duration
    max_entries: int
    def __init__(self, unused_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_entries: _Optional[int] = ...) -> None: ...

class SharedIdentitiesResponse(_message.Message):
    __slots__ = ("shared", "overdue", "unregistered", "unused", "watched_since", "truncated", "watched")
    SHARED_FIELD_NUMBER: _ClassVar[int]
    OVERDUE_FIELD_NUMBER: _ClassVar[int]
    UNREGISTERED_FIELD_NUMBER: _ClassVar[int]
    UNUSED_FIELD_NUMBER: _ClassVar[int]
    WATCHED_SINCE_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    WATCHED_FIELD_NUMBER: _ClassVar[int]
    shared: _containers.RepeatedCompositeFieldContainer[SharedIdentity]
    overdue: _containers.RepeatedCompositeFieldContainer[OverdueCredential]
    unregistered: _containers.RepeatedCompositeFieldContainer[SeenIdentity]
    unused: _containers.RepeatedCompositeFieldContainer[SeenIdentity]
    watched_since: _timestamp_pb2.Timestamp
    truncated: bool
    watched: int
    def __init__(self, shared: _Optional[_Iterable[_Union[SharedIdentity, _Mapping]]] = ..., overdue: _Optional[_Iterable[_Union[OverdueCredential, _Mapping]]] = ..., unregistered: _Optional[_Iterable[_Union[SeenIdentity, _Mapping]]] = ..., unused: _Optional[_Iterable[_Union[SeenIdentity, _Mapping]]] = ..., watched_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., truncated: _Optional[bool] = ..., watched: _Optional[int] = ...) -> None: ...

class SharedIdentity(_message.Message):
    __slots__ = ("identity", "owner", "certificates", "addresses", "task_owners")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    TASK_OWNERS_FIELD_NUMBER: _ClassVar[int]
    identity: str
    owner: str
    certificates: Usage
    addresses: Usage
    task_owners: Usage
    def __init__(self, identity: _Optional[str] = ..., owner: _Optional[str] = ..., certificates: _Optional[_Union[Usage, _Mapping]] = ..., addresses: _Optional[_Union[Usage, _Mapping]] = ..., task_owners: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("at_once", "expected", "seen")
    AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    at_once: int
    expected: int
    seen: _containers.RepeatedCompositeFieldContainer[Evidence]
    def __init__(self, at_once: _Optional[int] = ..., expected: _Optional[int] = ..., seen: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("value", "first_seen", "last_seen")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    value: str
    first_seen: _timestamp_pb2.Timestamp
    last_seen: _timestamp_pb2.Timestamp
    def __init__(self, value: _Optional[str] = ..., first_seen: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_seen: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OverdueCredential(_message.Message):
    __slots__ = ("identity", "certificate", "problem", "not_before", "not_after", "last_seen")
    class Problem(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PROBLEM_UNSPECIFIED: _ClassVar[OverdueCredential.Problem]
        PROBLEM_NOT_ROTATED: _ClassVar[OverdueCredential.Problem]
        PROBLEM_LIVES_TOO_LONG: _ClassVar[OverdueCredential.Problem]
    PROBLEM_UNSPECIFIED: OverdueCredential.Problem
    PROBLEM_NOT_ROTATED: OverdueCredential.Problem
    PROBLEM_LIVES_TOO_LONG: OverdueCredential.Problem
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    identity: str
    certificate: str
    problem: OverdueCredential.Problem
    not_before: _timestamp_pb2.Timestamp
    not_after: _timestamp_pb2.Timestamp
    last_seen: _timestamp_pb2.Timestamp
    def __init__(self, identity: _Optional[str] = ..., certificate: _Optional[str] = ..., problem: _Optional[_Union[OverdueCredential.Problem, str]] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_seen: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SeenIdentity(_message.Message):
    __slots__ = ("identity", "owner", "first_seen", "last_seen")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    identity: str
    owner: str
    first_seen: _timestamp_pb2.Timestamp
    last_seen: _timestamp_pb2.Timestamp
    def __init__(self, identity: _Optional[str] = ..., owner: _Optional[str] = ..., first_seen: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_seen: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
