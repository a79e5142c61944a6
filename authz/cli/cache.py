"""`authz cache`: what the decision cache of a running server has been through, and how to empty it."""

import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from authz.cli.control.server import Orders, orders_options
from authz.cli.options import config_option, read_config
from authz.client import Connection
from authz.control.v1 import decisions_pb2
from authz.errors import AuthzError

_PREFIX = "authz_cache_"
_OF_POLICY = "policy_decisions."
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 16_777_216


@click.group()
def cache() -> None:
    """Look at the decisions that are used again."""


@cache.command()
@config_option
@click.option("--admin", help="The admin listener, such as 127.0.0.1:9192; else the one in the configuration.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def stats(config_path: Path | None, admin: str | None, *, as_json: bool) -> None:
    """Show hits, misses by why, evictions, invalidations, entries and bytes, and the hit ratio by policy."""
    counts = _cache_metrics(_fetch(admin or read_config(config_path).admin.listen))
    if not counts:
        raise AuthzError("the server has no decision cache, or says nothing of it")
    told = _summary(counts)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return
    for name, value in told.items():
        click.echo(f"{name:<34}{_shown(name, value):>14}")


@cache.command()
@orders_options
def clear(orders: Orders) -> None:
    """Let no decision that was made before be used again, in any process of the host."""

    async def work(connection: Connection) -> None:
        request = decisions_pb2.ClearCacheRequest()
        answer = await connection.call("Decisions/ClearCache", request, decisions_pb2.ClearCacheResponse)
        orders.show(answer, "every request is decided afresh")

    orders.run(work)


def _fetch(admin: str) -> str:
    if admin.startswith("unix:"):
        raise AuthzError(
            "the admin listener is a Unix socket: `curl --unix-socket PATH http://authz/metrics` shows the same"
        )
    try:
        with urllib.request.urlopen(f"http://{admin}/metrics", timeout=_TIMEOUT_SECONDS) as answer:
            return str(answer.read(_MAX_BYTES).decode())
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise AuthzError(f"the admin listener {admin} does not answer: {error}") from None


def _cache_metrics(text: str) -> dict[str, float]:
    return {
        _name(sample.name.removeprefix(_PREFIX).removesuffix("_total"), sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(_PREFIX) and not sample.name.endswith("_created")
    }


def _name(metric: str, labels: Iterable[str]) -> str:
    return ".".join((metric, *labels))


def _summary(counts: dict[str, float]) -> dict[str, float]:
    hits = sum(value for name, value in counts.items() if name.startswith("hits"))
    asked = hits + sum(value for name, value in counts.items() if name.startswith("misses"))
    return {"hit_ratio": hits / asked if asked else 0.0, **dict(_by_policy(counts)), **counts}


def _by_policy(counts: dict[str, float]) -> Iterator[tuple[str, float]]:
    """The hit ratio of each policy file: of all decisions of its rules, those that were used again."""
    for name, again in counts.items():
        if name.startswith(_OF_POLICY) and name.endswith(".again"):
            policy = name.removeprefix(_OF_POLICY).removesuffix(".again")
            made = again + counts.get(f"{_OF_POLICY}{policy}.afresh", 0.0)
            yield f"hit_ratio.{policy or '(no rule)'}", again / made if made else 0.0


def _shown(name: str, value: float) -> str:
    return f"{value:.4f}" if name.startswith("hit_ratio") else f"{value:,.0f}"
