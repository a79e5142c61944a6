"""Names parts of the network, so that rules need not list addresses."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from authz.errors import ConfigError
from authz.memo import Memo

_REMEMBERED = 4_096
_MAX_CHARS = 64
"""No address is longer."""


class Zones:
    """Answers in which zone an address is."""

    def __init__(self, zones: Mapping[str, Sequence[str]]) -> None:
        """`zones`: name -> networks such as "10.0.0.0/8".

        Raises:
            ConfigError: a network that is none.
        """
        found = [(_network(name, text), name) for name, networks in zones.items() for text in networks]
        # The narrowest first, so that a zone may lie within another.
        self._networks = sorted(found, key=lambda each: -each[0].prefixlen)
        self._known: Memo[str, str] = Memo(_REMEMBERED)

    def of(self, address: str) -> str:
        """The zone of the narrowest network that holds the address; "": none does, or it is no address."""
        if not self._networks or len(address) > _MAX_CHARS:
            return ""
        known = self._known.get(address)
        if known is None:
            known = self._find(address)
            self._known.put(address, known)
        return known

    def _find(self, text: str) -> str:
        try:
            address = ip_address(text)
        except ValueError:
            return ""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return next(
            (name for network, name in self._networks if address.version == network.version and address in network), ""
        )


def problems(zones: Mapping[str, Iterable[str]]) -> Iterable[tuple[str, str]]:
    """Name what is wrong with the setting, as (key, message)."""
    places: dict[IPv4Network | IPv6Network, str] = {}
    for name, networks in zones.items():
        for text in networks:
            try:
                network = _network(name, text)
            except ConfigError as error:
                yield f"zones.{name}", str(error)
                continue
            if places.setdefault(network, name) != name:
                yield f"zones.{name}", f"{text} is in the zone {places[network]!r} already"


def _network(name: str, text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigError(f"zone {name!r}: {text!r} is no network: {error}; write it as 10.0.0.0/8") from None
