"""Pages are made in pieces, between which decisions are made."""

import asyncio

import pytest

from authz.console import desk_room
from authz.console.assets import Assets
from authz.console.desk_room import DeskRoom, templates
from authz.console.pages.grants import state_names
from authz.control.v1 import grants_pb2 as pb


@pytest.fixture
def room():
    others = dict.fromkeys(DeskRoom.__struct_fields__)
    return DeskRoom(**others | {"templates": templates(Assets(), 2_000)})


def values(grants):
    return {
        "title": "Grants",
        "grants": [pb.Grant(id=f"g{number}", holder="spiffe://td/a", state=1) for number in range(grants)],
        "selected": pb.ListGrantsRequest(),
        "with_ended": False,
        "next_page": "",
        "states": state_names(),
        "roles": frozenset(),
        "now": 0.0,
        "csrf": "",
    }


async def test_a_page_of_many_rows_lets_others_have_the_loop_and_is_the_same(room, monkeypatch):
    shown = values(200)
    whole = room.templates.get_template("grants.html").render(shown)
    clock = iter(range(1_000_000))
    monkeypatch.setattr(desk_room, "perf_counter", lambda: next(clock) * desk_room._PIECE_SECONDS / 10)
    turns = 0

    async def decide():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    deciding = asyncio.create_task(decide())
    assert await room.render("grants.html", **shown) == whole
    deciding.cancel()
    assert turns > 200  # some ten pieces at a time, of thousands


async def test_a_small_page_is_made_at_once(room, monkeypatch):
    monkeypatch.setattr(desk_room, "perf_counter", lambda: 0.0)
    making = room.render("grants.html", **values(1))
    with pytest.raises(StopIteration):
        making.send(None)
