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

class TaskAccount(_message.Message):
    __slots__ = ("task", "principal", "state", "owner", "created_at", "ended_at", "suspended_until", "calls", "denials", "sensitivities", "spent")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[TaskAccount.State]
        STATE_OPEN: _ClassVar[TaskAccount.State]
        STATE_COMPLETED: _ClassVar[TaskAccount.State]
        STATE_REVOKED: _ClassVar[TaskAccount.State]
    STATE_UNSPECIFIED: TaskAccount.State
    STATE_OPEN: TaskAccount.State
    STATE_COMPLETED: TaskAccount.State
    STATE_REVOKED: TaskAccount.State
    TASK_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    SUSPENDED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    DENIALS_FIELD_NUMBER: _ClassVar[int]
    SENSITIVITIES_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.Task
    principal: str
    state: TaskAccount.State
    owner: str
    created_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    suspended_until: _timestamp_pb2.Timestamp
    calls: int
    denials: int
    sensitivities: _containers.RepeatedScalarFieldContainer[str]
    spent: _grants_pb2.TaskLimits
    def __init__(self, task: _Optional[_Union[_common_pb2.Task, _Mapping]] = ..., principal: _Optional[str] = ..., state: _Optional[_Union[TaskAccount.State, str]] = ..., owner: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., suspended_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., calls: _Optional[int] = ..., denials: _Optional[int] = ..., sensitivities: _Optional[_Iterable[str]] = ..., spent: _Optional[_Union[_grants_pb2.TaskLimits, _Mapping]] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ("suspended_only", "open_only", "owner", "page")
    SUSPENDED_ONLY_FIELD_NUMBER: _ClassVar[int]
    OPEN_ONLY_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    suspended_only: bool
    open_only: bool
    owner: str
    page: _common_pb2.PageRequest
    def __init__(self, suspended_only: _Optional[bool] = ..., open_only: _Optional[bool] = ..., owner: _Optional[str] = ..., page: _Optional[_Union[_common_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks", "next_page_token")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[TaskAccount]
    next_page_token: str
    def __init__(self, tasks: _Optional[_Iterable[_Union[TaskAccount, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetTaskRequest(_message.Message):
    __slots__ = ("task_id", "principal")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    principal: str
    def __init__(self, task_id: _Optional[str] = ..., principal: _Optional[str] = ...) -> None: ...

class GetTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: TaskAccount
    def __init__(self, task: _Optional[_Union[TaskAccount, _Mapping]] = ...) -> None: ...

class ResumeTaskRequest(_message.Message):
    __slots__ = ("task_id", "principal", "reason")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    principal: str
    reason: str
    def __init__(self, task_id: _Optional[str] = ..., principal: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ResumeTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: TaskAccount
    def __init__(self, task: _Optional[_Union[TaskAccount, _Mapping]] = ...) -> None: ...
