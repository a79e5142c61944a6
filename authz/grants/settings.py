"""Which grants are accepted, and what they may ask for."""

from typing import Annotated

import msgspec


class GrantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Just-in-time grants in a request header. None is read until `issuer` is set; until then none is given out."""

    issuer: Annotated[str, msgspec.Meta(max_length=2_048)] = ""
    """The exact value of `iss`, for grants that are issued here and those that are accepted; "": grants are off."""
    audience: Annotated[str, msgspec.Meta(max_length=2_048)] = ""
    """The exact value of `aud`, the name of the fleet whose replicas accept one another's grants; "": the issuer's."""
    jwks: str = ""
    """The public keys of whoever issues them, a JSON Web Key Set: a file, or an https:// URL; kept current as `[keys]`
    says."""
    header: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]{1,64}\Z")] = "authz-grant"
    """The name of the request header, in lower case. It holds the token alone. Not one of the prefix of our own
    statements (`response.statement_prefix`): those the proxy removes from what callers send, before it asks."""
    forward: bool = False
    """Whether the upstream gets the header too. A grant is good for whoever holds the same identity only, but an
    upstream that does not check it has no use for it."""
    max_lifetime_seconds: Annotated[int, msgspec.Meta(ge=5, le=86_400)] = 900
    """The longest time from issue to expiry, in seconds. Nobody can get, or use, a grant that lives longer."""
    leeway_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 5.0
    """How far the issuer's clock may be off from ours, in seconds; revocations hold as much longer."""
    max_token_bytes: Annotated[int, msgspec.Meta(ge=512, le=16_384)] = 4_096
    """The longest token that is read, in bytes."""
    max_delegations: Annotated[int, msgspec.Meta(ge=0, le=16)] = 4
    """How many parties may have handed a task on before its holder."""
    require_certificate: bool = False
    """Whether a grant must be bound to its holder's certificate (RFC 8705), so that another workload with the same
    identity cannot use it, nor the same one after its certificate was renewed."""
    max_memo_entries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 8_192
    """How many verified grants are remembered; the least recently used go first."""
    max_revocations: Annotated[int, msgspec.Meta(ge=1_000, le=20_000_000)] = 2_000_000
    """How many revocations and finished tasks are held in memory, about 150 bytes each; beyond that everything is
    denied, for one that is not held may be the one that matters."""

    @property
    def enabled(self) -> bool:
        """Whether grants are read at all."""
        return bool(self.issuer)

    @property
    def active_header(self) -> str:
        """The name of the header that is read; "": none is."""
        return self.header if self.enabled else ""

    @property
    def accepted_audience(self) -> str:
        """The value of `aud` that counts."""
        return self.audience or self.issuer
