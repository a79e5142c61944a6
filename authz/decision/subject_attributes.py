"""From who was resolved to what a policy sees as `r.sub`. Reference: docs/attributes.md."""

from authz.model import Attributes, Subject, Transaction

_NO_CREDENTIAL: Attributes = {"kind": "", "fingerprint": "", "age": float("inf"), "lifetime": float("inf")}
"""Of unknown age: a rule that asks for a young credential must not take none for one."""

_NO_TRANSACTION: Attributes = {
    **dict.fromkeys(("id", "issuer", "subject", "workload", "scope", "task"), ""),
    "scopes": (),
    "valid": False,
    "context": {},
    "request": {},
}


def subject_attributes(subject: Subject, sharing: Attributes, now: float) -> Attributes:
    """What `r.sub` is."""
    credential = subject.credential or subject.token
    chain = tuple([hop.id for hop in subject.chain]) or ((subject.id,) if subject.id else ())
    return {
        "registered": False,
        "owner": "",
        "environment": "",
        "purpose": "",
        "clearance": 0,
        "labels": {},
        **subject.attributes,
        # After the inventory's attributes: no inventory entry can speak over what was proved (I5).
        "id": subject.id,
        "kind": subject.kind.value,
        "trust_domain": subject.trust_domain,
        "path": subject.path,
        "namespace": subject.namespace,
        "service_account": subject.service_account,
        "sources": subject.sources,
        "credential": {
            "kind": credential.kind,
            "fingerprint": credential.fingerprint,
            "age": max(0.0, now - credential.not_before),
            "lifetime": credential.lifetime,
        }
        if credential
        else _NO_CREDENTIAL,
        "claims": subject.claims,
        "hops": subject.hops,
        "chain": chain,
        "depth": max(0, len(chain) - 1),
        "origin": chain[0] if chain else "",
        "transaction": _transaction(subject.transaction) if subject.transaction else _NO_TRANSACTION,
        **sharing,
    }


def _transaction(found: Transaction) -> Attributes:
    return {
        "valid": True,
        "id": found.id,
        "issuer": found.issuer,
        "subject": found.subject,
        "workload": found.workload,
        "scope": found.scope,
        "task": found.task,
        "scopes": tuple(found.scope.split(" ")),
        "context": found.context,
        "request": found.request,
    }
