"""The service `Keys`: the keys that sign grants."""

import msgspec

from authz.control.backing import Backing
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.fields import timestamp
from authz.control.method import Call, Method, Methods
from authz.control.v1 import keys_pb2 as pb
from authz.stores.database.records import SigningKey
from authz.stores.signing_keys import KeyRing


class Keys:
    """Serves `authz.control.v1.Keys`."""

    def __init__(self, backing: Backing, ring: KeyRing) -> None:
        self._backing = backing
        self._ring = ring

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            "Rotate": Method(pb.RotateRequest, self._ask_rotate, self._rotate, can_wait=True),
            "List": Method(pb.ListKeysRequest, self._ask_list, self._list),
        }

    async def _ask_rotate(self, request: pb.RotateRequest, _: Caller) -> Question:
        fields = self._backing.fields()
        fields.text("reason", request.reason, required=True)
        fields.settle()
        return Question("/keys", {"type": "key", "value": request.reason})

    async def _rotate(self, _: pb.RotateRequest, __: Call) -> pb.RotateResponse:
        record = await self._ring.rotate()
        await self._backing.settle()
        return pb.RotateResponse(key=self._told(record))

    async def _ask_list(self, _: pb.ListKeysRequest, __: Caller) -> Question:
        return Question("/keys", {"type": "key"})

    async def _list(self, _: pb.ListKeysRequest, __: Call) -> pb.ListKeysResponse:
        await self._ring.refresh()
        return pb.ListKeysResponse(keys=[self._told(record) for record in self._ring.records])

    def _told(self, record: SigningKey) -> pb.SigningKey:
        retired = record.retired_at
        return pb.SigningKey(
            id=record.kid,
            algorithm=str(record.jwk.get("alg", "")),
            created_at=timestamp(record.created_at),
            retired_at=timestamp(retired or 0.0),
            verifies_until=timestamp(self._ring.verifies_until(record)) if retired else None,
            public_jwk=msgspec.json.encode(record.jwk).decode(),
        )
