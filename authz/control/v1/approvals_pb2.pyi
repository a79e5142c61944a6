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

class ApprovalState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPROVAL_STATE_UNSPECIFIED: _ClassVar[ApprovalState]
    APPROVAL_STATE_OPEN: _ClassVar[ApprovalState]
    APPROVAL_STATE_APPROVED: _ClassVar[ApprovalState]
    APPROVAL_STATE_REJECTED: _ClassVar[ApprovalState]
    APPROVAL_STATE_EXPIRED: _ClassVar[ApprovalState]
    APPROVAL_STATE_SPENT: _ClassVar[ApprovalState]
    APPROVAL_STATE_WITHDRAWN: _ClassVar[ApprovalState]
    APPROVAL_STATE_DEAD: _ClassVar[ApprovalState]
APPROVAL_STATE_UNSPECIFIED: ApprovalState
APPROVAL_STATE_OPEN: ApprovalState
APPROVAL_STATE_APPROVED: ApprovalState
APPROVAL_STATE_REJECTED: ApprovalState
APPROVAL_STATE_EXPIRED: ApprovalState
APPROVAL_STATE_SPENT: ApprovalState
APPROVAL_STATE_WITHDRAWN: ApprovalState
APPROVAL_STATE_DEAD: ApprovalState

class ShownValue(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class ApprovalAction(_message.Message):
    __slots__ = ("name", "method", "host", "path", "query", "arguments", "arguments_left_out", "arguments_cut", "arguments_sha256", "body_bytes", "amounts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_CUT_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    BODY_BYTES_FIELD_NUMBER: _ClassVar[int]
    AMOUNTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    method: str
    host: str
    path: str
    query: _containers.RepeatedCompositeFieldContainer[ShownValue]
    arguments: _containers.RepeatedCompositeFieldContainer[ShownValue]
    arguments_left_out: int
    arguments_cut: bool
    arguments_sha256: str
    body_bytes: int
    amounts: _containers.RepeatedCompositeFieldContainer[ShownValue]
    def __init__(self, name: _Optional[str] = ..., method: _Optional[str] = ..., host: _Optional[str] = ..., path: _Optional[str] = ..., query: _Optional[_Iterable[_Union[ShownValue, _Mapping]]] = ..., arguments: _Optional[_Iterable[_Union[ShownValue, _Mapping]]] = ..., arguments_left_out: _Optional[int] = ..., arguments_cut: _Optional[bool] = ..., arguments_sha256: _Optional[str] = ..., body_bytes: _Optional[int] = ..., amounts: _Optional[_Iterable[_Union[ShownValue, _Mapping]]] = ...) -> None: ...

class ApprovalResource(_message.Message):
    __slots__ = ("type", "id", "sensitivity", "environment", "cardholder_data")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SENSITIVITY_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    CARDHOLDER_DATA_FIELD_NUMBER: _ClassVar[int]
    type: str
    id: str
    sensitivity: str
    environment: str
    cardholder_data: bool
    def __init__(self, type: _Optional[str] = ..., id: _Optional[str] = ..., sensitivity: _Optional[str] = ..., environment: _Optional[str] = ..., cardholder_data: _Optional[bool] = ...) -> None: ...

class ApprovalRequester(_message.Message):
    __slots__ = ("principal", "kind", "owner", "origin", "chain", "task", "task_declared", "grant_id", "source_address")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    TASK_DECLARED_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    principal: str
    kind: str
    owner: str
    origin: str
    chain: _containers.RepeatedScalarFieldContainer[str]
    task: _common_pb2.Task
    task_declared: bool
    grant_id: str
    source_address: str
    def __init__(self, principal: _Optional[str] = ..., kind: _Optional[str] = ..., owner: _Optional[str] = ..., origin: _Optional[str] = ..., chain: _Optional[_Iterable[str]] = ..., task: _Optional[_Union[_common_pb2.Task, _Mapping]] = ..., task_declared: _Optional[bool] = ..., grant_id: _Optional[str] = ..., source_address: _Optional[str] = ...) -> None: ...

class ApprovalDemand(_message.Message):
    __slots__ = ("rule", "rule_text", "policy_version", "groups", "persons", "max_uses", "may_be_for_task", "ttl_seconds", "exclude", "beyond")
    RULE_FIELD_NUMBER: _ClassVar[int]
    RULE_TEXT_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    PERSONS_FIELD_NUMBER: _ClassVar[int]
    MAX_USES_FIELD_NUMBER: _ClassVar[int]
    MAY_BE_FOR_TASK_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    BEYOND_FIELD_NUMBER: _ClassVar[int]
    rule: str
    rule_text: str
    policy_version: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    persons: int
    max_uses: int
    may_be_for_task: bool
    ttl_seconds: float
    exclude: _containers.RepeatedScalarFieldContainer[str]
    beyond: _containers.RepeatedCompositeFieldContainer[ExceededLimit]
    def __init__(self, rule: _Optional[str] = ..., rule_text: _Optional[str] = ..., policy_version: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., persons: _Optional[int] = ..., max_uses: _Optional[int] = ..., may_be_for_task: _Optional[bool] = ..., ttl_seconds: _Optional[float] = ..., exclude: _Optional[_Iterable[str]] = ..., beyond: _Optional[_Iterable[_Union[ExceededLimit, _Mapping]]] = ...) -> None: ...

class ExceededLimit(_message.Message):
    __slots__ = ("limit_of", "limit", "used", "asked")
    LIMIT_OF_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    limit_of: str
    limit: str
    used: str
    asked: str
    def __init__(self, limit_of: _Optional[str] = ..., limit: _Optional[str] = ..., used: _Optional[str] = ..., asked: _Optional[str] = ...) -> None: ...

class ApprovalVote(_message.Message):
    __slots__ = ("person", "name", "group", "approved", "comment", "at", "tool")
    PERSON_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    APPROVED_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    person: str
    name: str
    group: str
    approved: bool
    comment: str
    at: _timestamp_pb2.Timestamp
    tool: str
    def __init__(self, person: _Optional[str] = ..., name: _Optional[str] = ..., group: _Optional[str] = ..., approved: _Optional[bool] = ..., comment: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tool: _Optional[str] = ...) -> None: ...

class Approval(_message.Message):
    __slots__ = ("id", "state", "action", "resource", "requester", "demand", "opened_at", "expires_at", "decided_at", "votes", "missing", "uses", "for_task", "used", "ended_by", "ended_why", "binding_sha256", "decision_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_FIELD_NUMBER: _ClassVar[int]
    DEMAND_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    FOR_TASK_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    ENDED_BY_FIELD_NUMBER: _ClassVar[int]
    ENDED_WHY_FIELD_NUMBER: _ClassVar[int]
    BINDING_SHA256_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: ApprovalState
    action: ApprovalAction
    resource: ApprovalResource
    requester: ApprovalRequester
    demand: ApprovalDemand
    opened_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    decided_at: _timestamp_pb2.Timestamp
    votes: _containers.RepeatedCompositeFieldContainer[ApprovalVote]
    missing: int
    uses: int
    for_task: bool
    used: int
    ended_by: str
    ended_why: str
    binding_sha256: str
    decision_id: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[ApprovalState, str]] = ..., action: _Optional[_Union[ApprovalAction, _Mapping]] = ..., resource: _Optional[_Union[ApprovalResource, _Mapping]] = ..., requester: _Optional[_Union[ApprovalRequester, _Mapping]] = ..., demand: _Optional[_Union[ApprovalDemand, _Mapping]] = ..., opened_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., votes: _Optional[_Iterable[_Union[ApprovalVote, _Mapping]]] = ..., missing: _Optional[int] = ..., uses: _Optional[int] = ..., for_task: _Optional[bool] = ..., used: _Optional[int] = ..., ended_by: _Optional[str] = ..., ended_why: _Optional[str] = ..., binding_sha256: _Optional[str] = ..., decision_id: _Optional[str] = ...) -> None: ...

class ApprovalRisk(_message.Message):
    __slots__ = ("warnings", "first_time", "off_hours", "task_requests", "task_grants", "task_passed", "approved_before", "rejected_before", "earlier", "open_of_principal")
    class TaskRequestsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TIME_FIELD_NUMBER: _ClassVar[int]
    OFF_HOURS_FIELD_NUMBER: _ClassVar[int]
    TASK_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    TASK_GRANTS_FIELD_NUMBER: _ClassVar[int]
    TASK_PASSED_FIELD_NUMBER: _ClassVar[int]
    APPROVED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    REJECTED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    EARLIER_FIELD_NUMBER: _ClassVar[int]
    OPEN_OF_PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    first_time: bool
    off_hours: bool
    task_requests: _containers.ScalarMap[str, int]
    task_grants: int
    task_passed: int
    approved_before: int
    rejected_before: int
    earlier: _containers.RepeatedCompositeFieldContainer[EarlierApproval]
    open_of_principal: int
    def __init__(self, warnings: _Optional[_Iterable[str]] = ..., first_time: _Optional[bool] = ..., off_hours: _Optional[bool] = ..., task_requests: _Optional[_Mapping[str, int]] = ..., task_grants: _Optional[int] = ..., task_passed: _Optional[int] = ..., approved_before: _Optional[int] = ..., rejected_before: _Optional[int] = ..., earlier: _Optional[_Iterable[_Union[EarlierApproval, _Mapping]]] = ..., open_of_principal: _Optional[int] = ...) -> None: ...

class EarlierApproval(_message.Message):
    __slots__ = ("id", "state", "opened_at", "by", "about")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: ApprovalState
    opened_at: _timestamp_pb2.Timestamp
    by: _containers.RepeatedScalarFieldContainer[str]
    about: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[ApprovalState, str]] = ..., opened_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., by: _Optional[_Iterable[str]] = ..., about: _Optional[str] = ...) -> None: ...

class ApprovalViewer(_message.Message):
    __slots__ = ("person", "name", "may_approve", "may_reject", "may_withdraw", "reasons", "group")
    PERSON_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MAY_APPROVE_FIELD_NUMBER: _ClassVar[int]
    MAY_REJECT_FIELD_NUMBER: _ClassVar[int]
    MAY_WITHDRAW_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    person: str
    name: str
    may_approve: bool
    may_reject: bool
    may_withdraw: bool
    reasons: _containers.RepeatedScalarFieldContainer[str]
    group: str
    def __init__(self, person: _Optional[str] = ..., name: _Optional[str] = ..., may_approve: _Optional[bool] = ..., may_reject: _Optional[bool] = ..., may_withdraw: _Optional[bool] = ..., reasons: _Optional[_Iterable[str]] = ..., group: _Optional[str] = ...) -> None: ...

class ListApprovalsRequest(_message.Message):
    __slots__ = ("state", "principal", "task_id", "group", "mine", "page")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MINE_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    state: ApprovalState
    principal: str
    task_id: str
    group: str
    mine: bool
    page: _common_pb2.PageRequest
    def __init__(self, state: _Optional[_Union[ApprovalState, str]] = ..., principal: _Optional[str] = ..., task_id: _Optional[str] = ..., group: _Optional[str] = ..., mine: _Optional[bool] = ..., page: _Optional[_Union[_common_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListApprovalsResponse(_message.Message):
    __slots__ = ("approvals", "next_page_token", "open")
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    approvals: _containers.RepeatedCompositeFieldContainer[Approval]
    next_page_token: str
    open: int
    def __init__(self, approvals: _Optional[_Iterable[_Union[Approval, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., open: _Optional[int] = ...) -> None: ...

class GetApprovalRequest(_message.Message):
    __slots__ = ("approval_id",)
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    def __init__(self, approval_id: _Optional[str] = ...) -> None: ...

class GetApprovalResponse(_message.Message):
    __slots__ = ("approval", "risk", "viewer")
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    RISK_FIELD_NUMBER: _ClassVar[int]
    VIEWER_FIELD_NUMBER: _ClassVar[int]
    approval: Approval
    risk: ApprovalRisk
    viewer: ApprovalViewer
    def __init__(self, approval: _Optional[_Union[Approval, _Mapping]] = ..., risk: _Optional[_Union[ApprovalRisk, _Mapping]] = ..., viewer: _Optional[_Union[ApprovalViewer, _Mapping]] = ...) -> None: ...

class ApproveRequest(_message.Message):
    __slots__ = ("approval_id", "uses", "for_task", "comment", "binding_sha256")
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    FOR_TASK_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    BINDING_SHA256_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    uses: int
    for_task: bool
    comment: str
    binding_sha256: str
    def __init__(self, approval_id: _Optional[str] = ..., uses: _Optional[int] = ..., for_task: _Optional[bool] = ..., comment: _Optional[str] = ..., binding_sha256: _Optional[str] = ...) -> None: ...

class ApproveResponse(_message.Message):
    __slots__ = ("approval",)
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    approval: Approval
    def __init__(self, approval: _Optional[_Union[Approval, _Mapping]] = ...) -> None: ...

class RejectApprovalRequest(_message.Message):
    __slots__ = ("approval_id", "comment")
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    comment: str
    def __init__(self, approval_id: _Optional[str] = ..., comment: _Optional[str] = ...) -> None: ...

class RejectApprovalResponse(_message.Message):
    __slots__ = ("approval",)
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    approval: Approval
    def __init__(self, approval: _Optional[_Union[Approval, _Mapping]] = ...) -> None: ...

class WithdrawRequest(_message.Message):
    __slots__ = ("approval_id", "comment")
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    comment: str
    def __init__(self, approval_id: _Optional[str] = ..., comment: _Optional[str] = ...) -> None: ...

class WithdrawResponse(_message.Message):
    __slots__ = ("approval",)
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    approval: Approval
    def __init__(self, approval: _Optional[_Union[Approval, _Mapping]] = ...) -> None: ...

class WatchApprovalsRequest(_message.Message):
    __slots__ = ("group", "principal")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    group: str
    principal: str
    def __init__(self, group: _Optional[str] = ..., principal: _Optional[str] = ...) -> None: ...

class ApprovalEvent(_message.Message):
    __slots__ = ("kind", "at", "approval")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[ApprovalEvent.Kind]
        KIND_WATCHING: _ClassVar[ApprovalEvent.Kind]
        KIND_OPENED: _ClassVar[ApprovalEvent.Kind]
        KIND_VOTED: _ClassVar[ApprovalEvent.Kind]
        KIND_APPROVED: _ClassVar[ApprovalEvent.Kind]
        KIND_REJECTED: _ClassVar[ApprovalEvent.Kind]
        KIND_WITHDRAWN: _ClassVar[ApprovalEvent.Kind]
        KIND_USED: _ClassVar[ApprovalEvent.Kind]
    KIND_UNSPECIFIED: ApprovalEvent.Kind
    KIND_WATCHING: ApprovalEvent.Kind
    KIND_OPENED: ApprovalEvent.Kind
    KIND_VOTED: ApprovalEvent.Kind
    KIND_APPROVED: ApprovalEvent.Kind
    KIND_REJECTED: ApprovalEvent.Kind
    KIND_WITHDRAWN: ApprovalEvent.Kind
    KIND_USED: ApprovalEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    kind: ApprovalEvent.Kind
    at: _timestamp_pb2.Timestamp
    approval: Approval
    def __init__(self, kind: _Optional[_Union[ApprovalEvent.Kind, str]] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., approval: _Optional[_Union[Approval, _Mapping]] = ...) -> None: ...
