"""How deep role grants nest, found once when a policy loads.

A grant that would take more hops than the limit is an error of the policy, not a silent "no": under a rule that denies,
a silent no would allow.
"""

from collections.abc import Iterable, Mapping

_MAX_STEPS = 20_000_000


def bound(graph: Mapping[str, Iterable[str]]) -> int:
    """The most hops that any way without repeats can take; whatever grants are left out, no shorter way takes more."""
    longest: dict[str, int] = {}
    result = 0
    for component in components(graph):
        members = set(component)
        beyond = [longest[after] + 1 for name in component for after in graph.get(name, ()) if after not in members]
        hops = len(component) - 1 + max(beyond, default=0)
        longest.update((name, hops) for name in component)
        result = max(result, hops)
    return result


def too_deep(graph: Mapping[str, Iterable[str]], limit: int) -> str:
    """A name from which some role takes more than `limit` hops even on the shortest way; "" when there is none.

    Raises:
        ValueError: The graph is too large to tell.
    """
    steps = 0
    for start in graph:
        seen = {start}
        level = [start]
        for _ in range(limit + 1):
            following = {after for name in level for after in graph.get(name, ())} - seen
            steps += len(following) + len(level)
            if steps > _MAX_STEPS:
                raise ValueError("the role grants are too many and too deep to check")
            if not following:
                break
            seen |= following
            level = list(following)
        else:
            return start
    return ""


def components(graph: Mapping[str, Iterable[str]]) -> Iterable[list[str]]:
    """The groups of names that reach each other, every group after those that it leads to (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    waiting: list[str] = []
    settled: set[str] = set()
    for root in graph:
        if root in order:
            continue
        work = [(root, iter(graph.get(root, ())))]
        order[root] = low[root] = len(order)
        waiting.append(root)
        while work:
            name, following = work[-1]
            for after in following:
                if after not in order:
                    order[after] = low[after] = len(order)
                    waiting.append(after)
                    work.append((after, iter(graph.get(after, ()))))
                    break
                if after not in settled:
                    low[name] = min(low[name], order[after])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == order[name]:
                    component: list[str] = []
                    while not component or component[-1] != name:
                        component.append(waiting.pop())
                    settled.update(component)
                    yield component
