import datetime

from authz.control.v1 import common_pb2 as _common_pb2
from authz.control.v1 import grants_pb2 as _grants_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChainsState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHAINS_STATE_UNSPECIFIED: _ClassVar[ChainsState]
    CHAINS_STATE_OPEN: _ClassVar[ChainsState]
    CHAINS_STATE_COMPLETED: _ClassVar[ChainsState]
    CHAINS_STATE_REVOKED: _ClassVar[ChainsState]
CHAINS_STATE_UNSPECIFIED: ChainsState
CHAINS_STATE_OPEN: ChainsState
CHAINS_STATE_COMPLETED: ChainsState
CHAINS_STATE_REVOKED: ChainsState

class ChainedTask(_message.Message):
    __slots__ = ("task", "owner", "state", "created_at", "ends_at", "ended_at", "ended_by")
    TASK_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDS_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_BY_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.Task
    owner: str
    state: ChainsState
    created_at: _timestamp_pb2.Timestamp
    ends_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    ended_by: str
    def __init__(self, task: _Optional[_Union[_common_pb2.Task, _Mapping]] = ..., owner: _Optional[str] = ..., state: _Optional[_Union[ChainsState, str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ends_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_by: _Optional[str] = ...) -> None: ...

class ListChainsRequest(_message.Message):
    __slots__ = ("state", "owner", "page")
    STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    state: ChainsState
    owner: str
    page: _common_pb2.PageRequest
    def __init__(self, state: _Optional[_Union[ChainsState, str]] = ..., owner: _Optional[str] = ..., page: _Optional[_Union[_common_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListChainsResponse(_message.Message):
    __slots__ = ("tasks", "next_page_token")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[ChainedTask]
    next_page_token: str
    def __init__(self, tasks: _Optional[_Iterable[_Union[ChainedTask, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetChainsRequest(_message.Message):
    __slots__ = ("task_id",)
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    def __init__(self, task_id: _Optional[str] = ...) -> None: ...

class GetChainsResponse(_message.Message):
    __slots__ = ("task", "grants", "more_grants")
    TASK_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    MORE_GRANTS_FIELD_NUMBER: _ClassVar[int]
    task: ChainedTask
    grants: _containers.RepeatedCompositeFieldContainer[_grants_pb2.Grant]
    more_grants: bool
    def __init__(self, task: _Optional[_Union[ChainedTask, _Mapping]] = ..., grants: _Optional[_Iterable[_Union[_grants_pb2.Grant, _Mapping]]] = ..., more_grants: _Optional[bool] = ...) -> None: ...
