"""The service `Fleet`: the replicas that share one store."""

from authz.control.backing import Backing
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.fields import timestamp
from authz.control.method import Call, Method, Methods
from authz.control.v1 import fleet_pb2 as pb


class Fleet:
    """Serves `authz.control.v1.Fleet`."""

    def __init__(self, backing: Backing, max_staleness_seconds: float, report_seconds: float) -> None:
        """`report_seconds`: how often a replica reports itself; one that did not for long is not ready."""
        self._backing = backing
        self._max_staleness = max_staleness_seconds
        self._silence = 3 * report_seconds

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {"Status": Method(pb.StatusRequest, self._ask, self._status)}

    async def _ask(self, _: pb.StatusRequest, __: Caller) -> Question:
        return Question("/fleet", {"type": "fleet"})

    async def _status(self, _: pb.StatusRequest, call: Call) -> pb.StatusResponse:
        store = self._backing.store
        response = pb.StatusResponse(self=store.replica_id)
        versions = set()
        for each in await store.replicas():
            silent = call.now - each.last_seen
            # What it knew when it was last heard of has aged since.
            staleness = (each.staleness_seconds or 0.0) + max(0.0, silent)
            ready = silent <= self._silence and (each.staleness_seconds or 0.0) <= self._max_staleness
            replica = response.replicas.add(
                id=each.id,
                host=each.host,
                version=each.version,
                policy_version=each.policy_version,
                sequence=each.applied_seq,
                seen_at=timestamp(each.last_seen),
                ready=ready,
            )
            replica.staleness.FromMilliseconds(int(staleness * 1_000))
            if ready:
                versions.add(each.policy_version)
        response.uniform = len(versions) <= 1
        return response
