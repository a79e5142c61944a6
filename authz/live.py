"""The snapshot in force in a serving process: what replaces it, and how an operator goes back to an earlier policy."""

import asyncio
from collections.abc import Callable

import structlog

from authz.composition import Composition
from authz.decision.snapshot import Snapshot
from authz.stores.daemon_thread import in_daemon_thread
from authz.stores.history import Kept
from authz.stores.holder import SnapshotHolder
from authz.stores.quiet import Pacer, settle
from authz.telemetry.metrics import Metrics


class LivePolicy:
    """Keeps the holder's snapshot made of the policy, the keys and the files that should be in force.

    For the event loop's thread, but for `build` and `trim`. Going back (`rollback`) needs somebody who may: offer it on
    no listener that does not authenticate its callers.
    """

    def __init__(self, composition: Composition, metrics: Metrics, told: Callable[[str], None]) -> None:
        """`start` it before anything else; `told` hears the version of every snapshot that comes into force."""
        self._told = told
        self._composition = composition
        self._metrics = metrics
        self._log = structlog.get_logger("authz.policy")
        self.holder: SnapshotHolder[Snapshot]
        self._in_force: Snapshot
        self._spent: list[object] = []

    def start(self, first: Snapshot) -> None:
        """Take the first snapshot; from now on loading lets requests go first."""
        self.holder = SnapshotHolder(first)
        self._in_force = first
        self.installed()
        self._composition.policies.pause = Pacer().step_aside
        settle()

    def installed(self) -> Snapshot:
        """Put in force what was built last, with whatever keys and pin are current by now."""
        self._composition.commit()
        self._metrics.bundle(*self._composition.bundle)
        return self.renew()

    def renew(self) -> Snapshot:
        """Put a snapshot with the current keys and the policy that should be in force in the place of the present."""
        before, snapshot = self._in_force, self._composition.assemble()
        self.holder.current = self._in_force = snapshot
        if before.binder is not snapshot.binder:
            # Thousands of resources are remembered there: `trim` frees them, not the next request.
            self._spent = [before.binder]
        self._metrics.snapshot(snapshot.version)
        self._told(snapshot.version)
        self.count()
        return snapshot

    def count(self) -> None:
        """Have the metrics tell how many policies are kept, and whether one is pinned."""
        history = self._composition.policies.history
        self._metrics.policies(kept=len(history), pinned=history.pinned is not None)

    def trim(self) -> None:
        """Free what is not needed any more; takes a while, so call it in a thread of its own."""
        spent, self._spent = self._spent, []
        self._composition.policies.trim(spent)

    def history(self) -> tuple[Kept, ...]:
        """List the policies that can be gone back to, the newest first."""
        return self._composition.policies.history.listing()

    def rollback(self, version: str) -> Snapshot:
        """Decide by an earlier policy from the next request on, and keep to it until `release`.

        `version`: a version of `history`, at least eight characters of it, or a `policy_version` from a record. Keys,
        inventory and catalogue stay those of now: what was revoked since stays revoked.

        Raises:
            ConfigError: no kept policy has that version.
        """
        policy = self._composition.policies.history.rollback(version)
        snapshot = self.renew()
        self._log.warning("went back to an earlier policy", version=policy.version, policy_version=snapshot.version)
        return snapshot

    def release(self) -> Snapshot:
        """Decide by the newest policy again."""
        policy = self._composition.policies.history.release()
        snapshot = self.renew()
        self._log.warning("the newest policy decides again", version=policy.version, policy_version=snapshot.version)
        return snapshot


class Trimming:
    """Frees old policies in the background, one round at a time."""

    def __init__(self, live: LivePolicy) -> None:
        self._live = live
        self._running: asyncio.Future[None] | None = None
        self._again = False

    def begin(self) -> None:
        """Have the history trimmed soon."""
        if self._running is not None and not self._running.done():
            self._again = True
            return
        self._again = False
        self._running = in_daemon_thread(self._live.trim)
        self._running.add_done_callback(self._ended)

    def _ended(self, done: "asyncio.Future[None]") -> None:
        if not done.cancelled() and done.exception() is not None:
            structlog.get_logger("authz.policy").error("old policies could not be freed", exc_info=done.exception())
        self._live.count()
        if self._again:
            self.begin()
