import datetime

from authz.control.v1 import policies_pb2 as _policies_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClearCacheRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ClearCacheResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TailRequest(_message.Message):
    __slots__ = ("effect", "reasons", "subject", "path")
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    effect: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    subject: str
    path: str
    def __init__(self, effect: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ..., subject: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class TailResponse(_message.Message):
    __slots__ = ("decision", "skipped")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    skipped: int
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ..., skipped: _Optional[int] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("id", "at", "effect", "reason", "subject", "subject_kind", "method", "host", "path", "rule", "policy_version", "task_id", "latency")
    ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_KIND_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    id: str
    at: _timestamp_pb2.Timestamp
    effect: str
    reason: str
    subject: str
    subject_kind: str
    method: str
    host: str
    path: str
    rule: str
    policy_version: str
    task_id: str
    latency: _duration_pb2.Duration
    def __init__(self, id: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., effect: _Optional[str] = ..., reason: _Optional[str] = ..., subject: _Optional[str] = ..., subject_kind: _Optional[str] = ..., method: _Optional[str] = ..., host: _Optional[str] = ..., path: _Optional[str] = ..., rule: _Optional[str] = ..., policy_version: _Optional[str] = ..., task_id: _Optional[str] = ..., latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("check_request",)
    CHECK_REQUEST_FIELD_NUMBER: _ClassVar[int]
    check_request: bytes
    def __init__(self, check_request: _Optional[bytes] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("decision", "check_response", "detail")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    CHECK_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    check_response: bytes
    detail: str
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ..., check_response: _Optional[bytes] = ..., detail: _Optional[str] = ...) -> None: ...

class SampleRequest(_message.Message):
    __slots__ = ("effect", "reasons", "subject", "path", "most", "once")
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    effect: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    subject: str
    path: str
    most: int
    once: bool
    def __init__(self, effect: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ..., subject: _Optional[str] = ..., path: _Optional[str] = ..., most: _Optional[int] = ..., once: _Optional[bool] = ...) -> None: ...

class SampleResponse(_message.Message):
    __slots__ = ("allowed", "denied", "reasons", "decisions", "span")
    class ReasonsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    allowed: int
    denied: int
    reasons: _containers.ScalarMap[str, int]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    span: _duration_pb2.Duration
    def __init__(self, allowed: _Optional[int] = ..., denied: _Optional[int] = ..., reasons: _Optional[_Mapping[str, int]] = ..., decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ..., span: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("decision_id",)
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    def __init__(self, decision_id: _Optional[str] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("decision", "cached", "detail", "obligations", "near", "unexplained", "policy_changed")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    OBLIGATIONS_FIELD_NUMBER: _ClassVar[int]
    NEAR_FIELD_NUMBER: _ClassVar[int]
    UNEXPLAINED_FIELD_NUMBER: _ClassVar[int]
    POLICY_CHANGED_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    cached: bool
    detail: str
    obligations: _containers.RepeatedScalarFieldContainer[str]
    near: _containers.RepeatedCompositeFieldContainer[_policies_pb2.NearRule]
    unexplained: str
    policy_changed: bool
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ..., cached: _Optional[bool] = ..., detail: _Optional[str] = ..., obligations: _Optional[_Iterable[str]] = ..., near: _Optional[_Iterable[_Union[_policies_pb2.NearRule, _Mapping]]] = ..., unexplained: _Optional[str] = ..., policy_changed: _Optional[bool] = ...) -> None: ...
