"""The trust bundles and key sets that configuration names: where they are, and the `Trust` that they make."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from authz.config.settings import Config
from authz.errors import ConfigError
from authz.identity.bundles import Trust, TrustBundle, parse_key_set, parse_trust_bundle
from authz.identity.jwk import KeySet
from authz.identity.spiffe import TrustDomain
from authz.stores.key_files import KeySource, KeyStore


class Keys(msgspec.Struct, frozen=True):
    """What one source holds, and a hash of it for the snapshot's version."""

    value: TrustBundle | KeySet
    digest: bytes


CurrentKeys = Mapping[str, Keys]
"""By the name of the source; one that could not be read, or is too old, is absent, and what it vouches for refused."""


def key_sources(config: Config, base: Path) -> dict[str, KeySource[Keys]]:
    """Name every bundle and key set; a file's relative path starts at `base`."""
    limits = config.identity.bundles

    def bundle(domain: TrustDomain, location: str) -> KeySource[Keys]:
        return _source(location, base, lambda data: parse_trust_bundle(data, domain, location, limits))

    def key_set(location: str) -> KeySource[Keys]:
        return _source(location, base, lambda data: parse_key_set(data, location, limits))

    located = [(domain, location) for domain, location in config.identity.bundle_locations if location]
    return {
        **{_bundle(domain): bundle(domain, location) for domain, location in located},
        **{_key_set(issuer.issuer): key_set(issuer.jwks) for issuer in config.identity.tokens.issuers},
    }


def make_trust(config: Config, keys: CurrentKeys) -> Trust:
    """Put the current keys where the resolver looks for them."""
    bundles = {}
    for domain, _ in config.identity.bundle_locations:
        found = keys.get(_bundle(domain))
        if found is not None and isinstance(found.value, TrustBundle):
            bundles[domain] = found.value
    key_sets = {}
    for issuer in config.identity.tokens.issuers:
        found = keys.get(_key_set(issuer.issuer))
        if found is not None and isinstance(found.value, KeySet):
            key_sets[issuer.issuer] = found.value
    return Trust(bundles=bundles, key_sets=key_sets)


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


def _source(location: str, base: Path, parse: Callable[[bytes], TrustBundle | KeySet]) -> KeySource[Keys]:
    where = location if "://" in location else str(base / location)
    return KeySource(where, lambda data: Keys(parse(data), hashlib.sha256(data).digest()))
