"""How unusual a request is, and what to look at twice."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from authz.approvals.approval import Approval
from authz.approvals.facts import Facts
from authz.approvals.settings import HoursSettings

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_THURSDAY: Final = 3  # the epoch began on one
_DAY_SECONDS: Final = 86_400


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of earlier requests; only what approvals and grants know, not every call."""

    task_requests: Mapping[str, int] = {}
    """Of this task, by what has become of them."""
    task_passed: int = 0
    """Calls of this task that passed on an approval."""
    task_grants: int = 0
    earlier: Sequence[Approval] = ()
    """The last of the same principal for the same action, the newest first."""
    earlier_by: Mapping[str, Sequence[str]] = {}
    """Who decided each of them, by its id."""
    approved_before: int = 0
    rejected_before: int = 0
    open_of_principal: int = 0


def off_hours(settings: HoursSettings, at: float) -> bool:
    """Whether a moment lies outside of the hours in which work is usually done."""
    if not settings.hours:
        return False
    local = int(at) + settings.utc_offset_minutes * 60
    day = _DAYS[(local // _DAY_SECONDS + _THURSDAY) % len(_DAYS)]
    start, _, end = settings.hours.partition("-")
    minute = local % _DAY_SECONDS // 60
    return day not in settings.days or not _minutes(start) <= minute < _minutes(end)


def warnings(  # noqa: C901 - one sentence after the other
    approval: Approval, facts: Facts, history: History, *, unusual_hour: bool
) -> list[str]:
    """Why to look twice, the weightiest first; each a sentence."""
    found = [f"It goes beyond a limit: {each}." for each in facts.beyond]
    if facts.cardholder_data:
        found.append("Cardholder data is behind this resource.")
    if not history.approved_before:
        found.append("First time: no request of this caller for this action was ever approved, as far as is kept.")
    if history.rejected_before:
        found.append(f"Rejected before: {history.rejected_before} of this caller's requests for this action.")
    if unusual_hour:
        found.append("Asked outside of the usual hours.")
    if facts.left_out or facts.cut:
        found.append("Not all of the arguments can be shown; the digest covers them to the byte.")
    if facts.body_bytes and not facts.arguments:
        found.append("The body cannot be read as JSON and is not shown; the digest covers it to the byte.")
    if facts.task_declared and approval.task_id:
        found.append("The task is what the caller says; no grant proves it.")
    if not approval.task_id:
        found.append("No task is named.")
    if not approval.owner:
        found.append("Nobody is registered as owner of this caller.")
    if len(facts.chain) > 1:
        found.append(f"The caller acts for others: {len(facts.chain)} parties are in the chain.")
    if strange := [each.name for each in facts.arguments if mixes_scripts(each.name) or mixes_scripts(each.value)]:
        found.append(f"Letters of different scripts that may look alike stand in: {', '.join(strange[:3])}.")
    if history.open_of_principal > 1:
        found.append(f"{history.open_of_principal} requests of this caller wait at once.")
    return found


def mixes_scripts(text: str) -> bool:
    """Whether some word of a text has Latin letters beside those of another script, as look-alikes do."""
    return any(len({_script(each) for each in word if each.isalpha()}) > 1 for word in text.split())


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)
