"""The subject that an identity stands for: what sort of principal it is, and what the inventory adds."""

from collections.abc import Iterable

import msgspec

from authz.identity.inventory import UNREGISTERED, Inventory
from authz.identity.patterns import PatternTable, SpiffePattern
from authz.identity.token_checks import TokenProof
from authz.model import Credential, Kind, Subject
from authz.spiffe import SpiffeId

ANONYMOUS = Subject(attributes=UNREGISTERED)


class SubjectFactory:
    """Makes subjects, for one inventory."""

    def __init__(self, agents: Iterable[SpiffePattern], inventory: Inventory) -> None:
        self._agents = PatternTable((pattern, Kind.AGENT) for pattern in agents)
        self._inventory = inventory

    def workload(self, spiffe_id: SpiffeId, source: str, credential: Credential | None) -> Subject:
        """The subject that a SPIFFE ID stands for."""
        registration = self._inventory.find(spiffe_id)
        kind = registration.kind if registration else None
        return Subject(
            id=str(spiffe_id),
            kind=kind or self._agents.find(spiffe_id) or Kind.WORKLOAD,
            trust_domain=spiffe_id.trust_domain.name,
            path=spiffe_id.path,
            namespace=spiffe_id.namespace,
            service_account=spiffe_id.service_account,
            sources=(source,),
            credential=credential,
            attributes=registration.attributes if registration else UNREGISTERED,
        )

    def token_holder(self, proof: TokenProof) -> Subject:
        """The subject of a token that came alone."""
        party = proof.party
        if party.spiffe_id is not None:
            subject = self.workload(party.spiffe_id, "token", proof.credential)
        else:
            subject = Subject(
                id=party.id,
                kind=party.kind or Kind.WORKLOAD,
                sources=("token",),
                credential=proof.credential,
                attributes=UNREGISTERED,
            )
        return msgspec.structs.replace(subject, token=proof.credential, claims=proof.claims)
