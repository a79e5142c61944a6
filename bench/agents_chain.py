"""What a chain of delegation costs: a whole check with hops before the caller against one without, in one process.

    python -m bench.agents_chain [ROUNDS]

Answers JSON: microseconds of CPU of a check, and the ratios to the same check without a chain, sample by sample.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519

from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.check import Checker
from authz.grants.changes import RevocationKind, Revoke
from authz.grants.grant import Grant, Task
from authz.grants.revoked import Revoked
from authz.grants.scope import Scope, access
from authz.grants.token import sign_grant
from authz.jose.jwk import KeySet
from authz.jose.signing import SigningKey
from authz.model import CURRENT, Freshness, Subject
from authz.stores.holder import SnapshotHolder
from bench.grants_inside import ISSUER, filled, with_grant
from bench.inside import BUDGET_SECONDS, Keeper
from bench.stats import paired, spread
from bench.timing import over, sample
from bench.traffic import PATHS, message
from bench.world import Setup, agent, configuration, make_identities

HOPS = 5
CLEARED = [number for number in range(2, 20) if number % 5]
"""A fifth of the agents lacks clearance."""
PRINCIPALS = 20
GOAL = 1.3
"""The promise: a chain of five hops, once seen, within this of none."""
_KEY = SigningKey("ed", ed25519.Ed25519PrivateKey.generate())


class Standing:
    """A store that has something revoked, so that every party of a chain is looked up."""

    def __init__(self) -> None:
        self._revoked = Revoked(5.0, 1_000)
        self._revoked.take(Revoke(RevocationKind.PRINCIPAL, "spiffe://demo.internal/revoked"))

    def refusal(self, subject: Subject, grant: Grant | None, now: float) -> Any:
        """As `Revoked.refusal`."""
        return self._revoked.refusal(subject, grant, now)

    def freshness(self) -> Freshness:
        """Nothing is shared."""
        return CURRENT


def a_grant(hops: int, now: int) -> str:
    """A grant of the agent 1 that so many others handed on."""
    return sign_grant(
        Grant(
            id=f"{hops:022d}",
            issuer=ISSUER,
            audience=ISSUER,
            holder=agent(1),
            task=Task(f"task-{hops}", "bench"),
            scope=Scope((access(["GET"], ["*"], ["/v1/accounts/*"]),)),
            issued_at=now,
            not_before=now,
            expires=now + 600,
            delegators=tuple(map(agent, CLEARED[:hops])),
        ),
        _KEY,
    )


def measure(rounds: int = 41) -> dict[str, Any]:
    """Every case in turn, back and forth."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        base = Path(name)
        identities = make_identities(base / "pki", PRINCIPALS)
        plain = message(identities.agents[1], agent(1), PATHS[0])
        now = int(time.time())
        asked = {"no grant": filled(plain, 7)}
        asked |= {f"{hops} hops": filled(with_grant(plain, a_grant(hops, now)), 7) for hops in (0, HOPS)}
        pieces = {}
        for kind, cache, hops in (
            ("cached", True, "identity"),
            ("decided", False, "identity"),
            ("decided, every hop", False, "allowed"),
        ):
            where = base / kind
            where.mkdir()
            text = configuration(Setup(cache=cache), identities, where, f"unix:{base}/none.sock", principals=PRINCIPALS)
            config = where / "authz.toml"
            section = f'[grants]\nissuer = "{ISSUER}"\nmax_delegations = 8\n[delegation]\nevery_hop = "{hops}"\n'
            config.write_text(f"{text}\n{section}")
            composition = Composition(load(config, Config, {}), where)
            composition.own_grant_keys = KeySet({_KEY.kid: _KEY.verification_key})
            keeper = Keeper(composition.config.audit)
            parts = composition.parts(SnapshotHolder(composition.build_snapshot()), keeper, keeper, standing=Standing())
            checker = Checker(parts)
            for case, request in asked.items():
                checker.check(request, BUDGET_SECONDS)
                if keeper.outcome is None or not keeper.outcome.decision.allowed:
                    raise SystemExit(f"{kind}, {case}: {keeper.outcome and keeper.outcome.decision}")
                pieces[f"{kind}: {case}"] = over(checker.check, [(request, BUDGET_SECONDS)])
        found = sample(pieces, rounds)
    return {
        "microseconds": {case: spread(values) for case, values in found.items()},
        "of none": {
            kind: paired(found[f"{kind}: {HOPS} hops"], found[f"{kind}: 0 hops"])
            for kind in ("cached", "decided", "decided, every hop")
        },
        "of no grant": paired(found[f"cached: {HOPS} hops"], found["cached: no grant"]),
        "goal": GOAL,
    }


def main(arguments: Sequence[str]) -> int:
    """Print it; 1: the promise is not kept."""
    told = measure(*(int(argument) for argument in arguments[:1]))
    print(json.dumps(told, indent=1))
    return 0 if told["of none"]["cached"]["median"] <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
