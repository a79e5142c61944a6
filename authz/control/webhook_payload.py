"""What a receiver is told of a request: a message such as Slack's webhooks take, signed as Standard Webhooks are.

Nothing of a request is ever markup here: what a caller chose stands in plain-text fields, and where a text may be read
as markup it is escaped.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

import msgspec

from authz.approvals.approval import missing
from authz.audit.redact import plain
from authz.control.approval_shapes import facts_of
from authz.control.fields import timestamp
from authz.errors import ConfigError
from authz.stores.database.approving import Told

EVENTS: Final = {
    "approval_opened": "opened",
    "approval_voted": "voted",
    "approval_approved": "approved",
    "approval_rejected": "rejected",
    "approval_withdrawn": "withdrawn",
    "approval_used": "used",
}
_TITLES: Final = {
    "opened": "Approval wanted",
    "voted": "One more has to approve",
    "approved": "Approved",
    "rejected": "Rejected",
    "withdrawn": "Taken back",
    "used": "Used",
}
_CHARS: Final = 256
_MIN_SECRET_BYTES: Final = 24
_PREFIX: Final = "whsec_"


def payload(event: str, found: Told, url: str) -> bytes:
    """The body of a delivery."""
    approval, facts = found.approval, facts_of(found.approval)
    title = _TITLES[event]
    about = f"{title}: {approval.action} by {approval.principal}"
    amounts = ", ".join(f"{each.name}={each.value}" for each in facts.amounts)
    fields = {
        "Action": approval.action,
        "On": f"{facts.host}{facts.path}",
        "Amount": amounts,
        "By": approval.principal,
        "For": approval.origin,
        "Owner": approval.owner,
        "Task": " ".join(part for part in (approval.task_id, facts.task_purpose) if part),
        "Decided by": " and ".join(approval.demand.groups),
        "Until": _moment(approval.expires_at),
        "Said": ", ".join(f"{vote.name}: {'yes' if vote.approved else 'no'}" for vote in found.votes),
    }
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(title)},
        {"type": "section", "fields": [_plain(f"{name}: {value}") for name, value in fields.items() if value]},
    ]
    if facts.beyond:
        beyond = "; ".join(map(str, facts.beyond))
        blocks.append({"type": "section", "text": _plain(f"Beyond a limit: {beyond}")})
    if url:
        button = {"type": "button", "text": _plain("Look at it"), "url": url}
        blocks.append({"type": "actions", "elements": [button]})
    told = {
        "approval_id": approval.id,
        "state": approval.state,
        "groups": list(approval.demand.groups),
        "missing": sum(missing(approval.demand, found.votes).values()),
        "expires_at": _moment(approval.expires_at),
        "url": url,
    }
    metadata = {"event_type": f"authz_approval_{event}", "event_payload": told}
    return msgspec.json.encode({"text": _escaped(about), "blocks": blocks, "metadata": metadata})


def read_secret(text: str, file: str) -> bytes:
    """The secret of a file's text.

    Raises:
        ConfigError: it is too short to be one, or not what its prefix says; it is not quoted (I10).
    """
    text = text.strip()
    try:
        secret = (
            base64.b64decode(text.removeprefix(_PREFIX), validate=True) if text.startswith(_PREFIX) else text.encode()
        )
    except (ValueError, binascii.Error):
        raise ConfigError(f"approvals.webhook.secret_file: {file}: {_PREFIX} is not followed by base64") from None
    if len(secret) < _MIN_SECRET_BYTES:
        raise ConfigError(
            f"approvals.webhook.secret_file: {file}: the secret is shorter than {_MIN_SECRET_BYTES} bytes"
        )
    return secret


def signature(secret: bytes, message_id: str, at: int, body: bytes) -> str:
    """The header `webhook-signature`: over id, time and body, so that none is changed, nor an old one sent as new."""
    signed = b".".join((message_id.encode(), str(at).encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": plain(text, _CHARS), "emoji": False}


def _escaped(text: str) -> str:
    """As Slack's markup wants it: nothing of it is a link or a mention then."""
    return plain(text, _CHARS).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _moment(seconds: float) -> str:
    moment = timestamp(seconds)
    return moment.ToJsonString() if moment is not None else ""
