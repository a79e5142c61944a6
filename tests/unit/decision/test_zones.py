"""r.env.zone: names of parts of the network."""

import pytest

from authz.decision.bind import BindSettings
from authz.decision.zones import Zones
from authz.errors import ConfigError

ZONES = Zones({"office": ["10.1.0.0/16", "2001:db8::/32"], "lab": ["10.1.2.0/24"], "all": ["0.0.0.0/0"]})


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("10.1.9.1", "office"),
        ("10.1.2.3", "lab"),
        ("::ffff:10.1.2.3", "lab"),
        ("192.0.2.1", "all"),
        ("2001:db8::1", "office"),
        ("2001:db9::1", ""),
        ("", ""),
        ("@unix", ""),
        ("10.1.2.3\n", ""),
        ("1" * 100, ""),
    ],
)
def test_an_address_is_in_the_narrowest_zone_that_holds_it(address, zone):
    assert [ZONES.of(address), ZONES.of(address)] == [zone, zone]


def test_what_is_no_network_is_refused():
    with pytest.raises(ConfigError, match=r"zone 'x': '10\.0\.0\.1/8' is no network"):
        Zones({"x": ["10.0.0.1/8"]})
    [(key, problem)] = BindSettings(zones={"x": ("10.0.0.0/8",), "y": ("10.0.0.0/8",)}).problems()
    assert (key, problem) == ("zones.y", "10.0.0.0/8 is in the zone 'x' already")
    assert list(BindSettings(zones={"x": ("10.0.0.0/33",)}).problems())
