"""The trust bundles and key sets that configuration names: where they are, and the `Trust` that they make."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from authz.config.settings import Config
from authz.errors import ConfigError
from authz.identity.bundles import Trust, TrustBundle, parse_key_set, parse_trust_bundle
from authz.jose.jwk import KeySet
from authz.spiffe import TrustDomain
from authz.stores.key_files import KeySource, KeyStore


class Keys(msgspec.Struct, frozen=True):
    """What one source holds, and a hash of it for the snapshot's version."""

    value: TrustBundle | KeySet
    digest: bytes


CurrentKeys = Mapping[str, Keys]
"""By the name of the source; one that could not be read, or is too old, is absent, and what it vouches for refused."""


_GRANTS = "key set of grants"
_NO_KEYS = KeySet()


def key_sources(config: Config, base: Path) -> dict[str, KeySource[Keys]]:
    """Name every bundle and key set; a file's relative path starts at `base`."""
    limits = config.identity.bundles

    def bundle(domain: TrustDomain, location: str) -> KeySource[Keys]:
        return _source(location, base, lambda data: parse_trust_bundle(data, domain, location, limits))

    def key_set(location: str) -> KeySource[Keys]:
        return _source(location, base, lambda data: parse_key_set(data, location, limits))

    grants = config.grants
    located = [(domain, location) for domain, location in config.identity.bundle_locations if location]
    return {
        **{_bundle(domain): bundle(domain, location) for domain, location in located},
        **{_key_set(issuer.issuer): key_set(issuer.jwks) for issuer in config.identity.tokens.issuers},
        **({_GRANTS: key_set(grants.jwks)} if grants.enabled and grants.jwks else {}),
        **{_transactions(each.issuer): key_set(each.jwks) for each in config.delegation.transaction_tokens.issuers},
        **{_signals(issuer.issuer): key_set(issuer.jwks) for issuer in config.control.signals.issuers},
        **{_humans(issuer.issuer): key_set(issuer.jwks) for issuer in config.approvals.issuers},
    }


def signal_keys(issuer: str, keys: CurrentKeys) -> KeySet:
    """Answer the keys of one who sends security events; none while they cannot be read."""
    found = keys.get(_signals(issuer))
    return found.value if found is not None and isinstance(found.value, KeySet) else KeySet()


def human_keys(issuer: str, keys: CurrentKeys) -> KeySet:
    """Answer the keys of a provider that vouches for humans; none while they cannot be read."""
    found = keys.get(_humans(issuer))
    return found.value if found is not None and isinstance(found.value, KeySet) else _NO_KEYS


def make_trust(config: Config, keys: CurrentKeys) -> Trust:
    """Put the current keys where the resolver looks for them."""
    bundles = {}
    for domain, _ in config.identity.bundle_locations:
        found = keys.get(_bundle(domain))
        if found is not None and isinstance(found.value, TrustBundle):
            bundles[domain] = found.value
    return Trust(
        bundles=bundles,
        key_sets=_by_issuer((one.issuer for one in config.identity.tokens.issuers), _key_set, keys),
        transaction_keys=_by_issuer(
            (one.issuer for one in config.delegation.transaction_tokens.issuers), _transactions, keys
        ),
    )


def _by_issuer(issuers: Iterable[str], name: Callable[[str], str], keys: CurrentKeys) -> dict[str, KeySet]:
    current = {issuer: keys.get(name(issuer)) for issuer in issuers}
    return {
        issuer: found.value
        for issuer, found in current.items()
        if found is not None and isinstance(found.value, KeySet)
    }


def grant_keys(keys: CurrentKeys) -> KeySet:
    """The keys that verify grants; empty where none is current: then no grant is accepted."""
    found = keys.get(_GRANTS)
    return found.value if found is not None and isinstance(found.value, KeySet) else KeySet()


async def read_keys(store: KeyStore[Keys], sources: Mapping[str, KeySource[Keys]], failures: Mapping[str, str]) -> None:
    """Read every source for the first time; `failures` is where the store's callback puts what went wrong.

    Raises:
        ConfigError: a file cannot be used. A URL that cannot be reached is tried again; until then nothing that it
            would vouch for is accepted.
    """
    await store.refresh()
    wrong = [f"{name}: {problem}" for name, problem in failures.items() if "://" not in sources[name].location]
    if wrong:
        raise ConfigError("\n".join(wrong))


def _bundle(domain: TrustDomain) -> str:
    return f"bundle of {domain}"


def _key_set(issuer: str) -> str:
    return f"key set of {issuer}"


def _transactions(issuer: str) -> str:
    return f"key set for transaction tokens of {issuer}"


def _humans(issuer: str) -> str:
    return f"key set of {issuer}, which vouches for humans"


def _signals(issuer: str) -> str:
    return f"key set for security events of {issuer}"


def _source(location: str, base: Path, parse: Callable[[bytes], TrustBundle | KeySet]) -> KeySource[Keys]:
    where = location if "://" in location else str(base / location)
    return KeySource(where, lambda data: Keys(parse(data), hashlib.sha256(data).digest()))
