"""How a generation ends."""

import asyncio

from authz.transport.ending import Ending


async def test_one_answer_of_each_connection_is_held_until_the_clients_have_seen_it():
    ending, log = Ending(0.04), []

    async def answer(name: str, connection: object) -> None:
        await ending.hold(connection)
        log.append(name)

    running = asyncio.ensure_future(ending.run(lambda: log.append("goaway")))
    await asyncio.sleep(0)
    assert ending.holding
    held = [asyncio.ensure_future(answer("first of a", "a")), asyncio.ensure_future(answer("first of b", "b"))]
    await asyncio.sleep(0)
    await answer("second of a", "a")
    await running
    await asyncio.gather(*held)
    assert log == ["second of a", "goaway", "first of a", "first of b"]
    assert ending.over
    assert not ending.holding


async def test_answers_of_unknown_connections_are_all_held():
    ending = Ending(0.04)
    held = [asyncio.ensure_future(ending.hold(None)) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in held)
    ending.close()
    await asyncio.gather(*held)


async def test_after_the_end_nothing_is_held():
    ending = Ending(0.04)
    ending.close()
    await asyncio.wait_for(ending.hold("a"), 1)


async def test_streams_that_never_end_are_woken_and_clients_are_told_first():
    ending, log = Ending(0.04), []
    leave = ending.join(lambda: log.append("left"))
    ending.join(lambda: log.append("woken"))
    leave()
    running = asyncio.ensure_future(ending.run(lambda: log.append("goaway")))
    await ending.told.wait()
    assert log == ["goaway"]
    await running
    assert log == ["goaway", "woken"]
