"""Grants between the protocol and the domain."""

from collections.abc import Iterable

import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Value as ProtoValue

from authz.control.fields import timestamp
from authz.control.v1 import grants_pb2 as pb
from authz.control.v1.common_pb2 import Permission, PermissionCondition
from authz.control.v1.common_pb2 import Task as ProtoTask
from authz.grants.condition import Condition
from authz.grants.grant import Grant, Task
from authz.grants.scope import DETAIL_TYPE, Detail, Scope
from authz.model import Value
from authz.stores.database.records import GrantRecord
from authz.task_limits import TaskLimits

_STATES = {
    "active": pb.GRANT_STATE_ACTIVE,
    "completed": pb.GRANT_STATE_COMPLETED,
    "revoked": pb.GRANT_STATE_REVOKED,
}


def scope_of(permissions: Iterable[Permission]) -> Scope:
    """Answer the scope that a request names.

    Raises:
        ValueError: a part of it means nothing; the message says which and why.
    """
    details = []
    for number, permission in enumerate(permissions):
        try:
            details.append(
                Detail(
                    DETAIL_TYPE,
                    tuple(permission.actions),
                    tuple(permission.locations),
                    tuple(permission.resources),
                    tuple(_condition(each) for each in permission.conditions),
                )
            )
        except ValueError as error:
            raise ValueError(f"permissions[{number}]: {error}") from None
    return Scope(tuple(details))


def _condition(condition: PermissionCondition) -> Condition:
    return Condition(
        condition.attribute,
        tuple(_plain(value) for value in condition.among),
        condition.min if condition.HasField("min") else None,
        condition.max if condition.HasField("max") else None,
    )


def _plain(value: ProtoValue) -> bool | float | str:
    found: object = MessageToDict(value)
    if isinstance(found, bool | str | int | float):
        return found
    raise ValueError("a condition lists texts, numbers and truth values")


def limits_of(limits: pb.TaskLimits) -> TaskLimits:
    """Answer the limits that a request names.

    Raises:
        ValueError: a limit that means nothing.
    """
    return TaskLimits(calls=limits.calls, resources=limits.resources, sums=dict(limits.sums))


def permissions_of(scope: Iterable[Detail]) -> list[Permission]:
    """Answer a scope as the protocol shows it."""
    return [_permission(detail) for detail in scope]


def _permission(detail: Detail) -> Permission:
    shown = Permission(actions=detail.actions, locations=detail.locations, resources=detail.resources)
    for condition in detail.conditions:
        made = shown.conditions.add(attribute=condition.attribute)
        if condition.min is not None:
            made.min = condition.min
        if condition.max is not None:
            made.max = condition.max
        for value in condition.among:
            if isinstance(value, bool):
                made.among.add(bool_value=value)
            elif isinstance(value, str):
                made.among.add(string_value=value)
            else:
                made.among.add(number_value=value)
    return shown


def record_of(grant: Grant, issued_to: str) -> GrantRecord:
    """Answer what is stored of a grant."""
    scope: list[dict[str, Value]] = grant.scope.to_claim()
    return GrantRecord(
        id=grant.id,
        task_id=grant.task.id,
        issuer=grant.issuer,
        audience=grant.audience,
        holder=grant.holder,
        issued_to=issued_to,
        issued_at=grant.issued_at,
        not_before=grant.not_before,
        expires_at=grant.expires,
        max_uses=grant.uses,
        delegators=grant.delegators,
        ancestors=grant.ancestors,
        scope=tuple(scope),
        limits=msgspec.to_builtins(grant.task.limits),
        certificate=grant.certificate,
    )


def grant_of(record: GrantRecord, purpose: str) -> Grant:
    """Answer the grant that was stored, so that its token can be made once more."""
    return Grant(
        id=record.id,
        issuer=record.issuer,
        audience=record.audience,
        holder=record.holder,
        task=Task(record.task_id, purpose, msgspec.convert(record.limits, TaskLimits)),
        scope=Scope(msgspec.convert(record.scope, tuple[Detail, ...])),
        issued_at=int(record.issued_at),
        not_before=int(record.not_before),
        expires=int(record.expires_at),
        uses=record.max_uses,
        certificate=record.certificate,
        delegators=record.delegators,
        ancestors=record.ancestors,
    )


def told(record: GrantRecord, purpose: str, now: float) -> pb.Grant:
    """Answer a grant as the protocol shows it."""
    expired = record.state == "active" and record.expires_at <= now
    return pb.Grant(
        id=record.id,
        holder=record.holder,
        task=ProtoTask(id=record.task_id, purpose=purpose),
        permissions=permissions_of(msgspec.convert(record.scope, tuple[Detail, ...])),
        audience=record.audience,
        issued_by=record.issued_to,
        issued_at=timestamp(record.issued_at),
        not_before=timestamp(record.not_before),
        expires_at=timestamp(record.expires_at),
        uses=record.max_uses,
        certificate_sha256=record.certificate,
        parent_id=record.ancestors[0] if record.ancestors else "",
        delegators=record.delegators,
        state=pb.GRANT_STATE_EXPIRED if expired else _STATES[record.state],
        limits=pb.TaskLimits(**record.limits) if record.limits else None,
    )
