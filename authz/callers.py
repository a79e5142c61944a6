"""What of a snapshot knows callers, kept for as long as the keys and the inventory stay that it was made of.

A policy says nothing of who calls. So a new one leaves in place what was proven of certificates, tokens and grants:
proving all of it again at once, just after a reload, would have requests wait that have nothing to do with it.
"""

from dataclasses import dataclass

from authz.config.settings import Config
from authz.grants.verifier import GrantVerifier
from authz.identity.chains import Chains
from authz.identity.inventory import Inventory
from authz.identity.proofs import Covered
from authz.identity.replay import Claims, ReplayMemory
from authz.identity.resolve import IdentityResolver, IdentitySettings
from authz.jose.jwk import KeySet
from authz.keys import CurrentKeys, grant_keys, make_trust


@dataclass(frozen=True, slots=True)
class Callers:
    """Who calls, on whose behalf, and with which grant."""

    resolver: IdentityResolver
    chains: Chains
    grants: GrantVerifier


@dataclass(frozen=True, slots=True)
class _Ground:
    """What they rest on, besides configuration; none of it changes, others take its place."""

    keys: CurrentKeys
    own_grant_keys: KeySet
    inventory: Inventory

    def is_that_of(self, other: "_Ground") -> bool:
        return (
            self.keys is other.keys
            and self.own_grant_keys is other.own_grant_keys
            and self.inventory is other.inventory
        )


class CallerMaker:
    """Makes them for one configuration. May be used from any thread; what it makes, from one only."""

    def __init__(self, config: Config, identity: IdentitySettings, used: Claims) -> None:
        """`identity` takes the place of the configuration's. `used`: which proofs other processes have used."""
        self._config = config
        self._identity = identity
        self._replays = ReplayMemory(identity.wimse.max_proofs, used)
        self._last: tuple[_Ground, Callers] | None = None

    def of(self, keys: CurrentKeys, own_grant_keys: KeySet, inventory: Inventory) -> Callers:
        """Those for these keys and this inventory: the last ones, with all that they remember, where both are the same.

        `own_grant_keys`: those that verify the grants issued here.

        Raises:
            ConfigError: the settings contradict themselves.
        """
        ground, last = _Ground(keys, own_grant_keys, inventory), self._last
        if last is not None and ground.is_that_of(last[0]):
            return last[1]
        made = self._made(ground)
        self._last = ground, made
        return made

    def _made(self, ground: _Ground) -> Callers:
        grants, delegation = self._config.grants, self._config.delegation
        resolver = IdentityResolver(
            self._identity,
            make_trust(self._config, ground.keys),
            ground.inventory,
            covered=Covered(
                delegation.transaction_tokens.active_header, (grants.active_header,) if grants.enabled else ()
            ),
            replays=self._replays,
        )
        verifying = KeySet({**grant_keys(ground.keys).keys, **ground.own_grant_keys.keys})
        return Callers(resolver, resolver.chains(delegation, grants=grants.enabled), GrantVerifier(grants, verifying))
