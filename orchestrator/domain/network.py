"""The network as a plan sees it: places, round trips and the price of moving data."""

from __future__ import annotations

from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt

EARTH_RADIUS_KM = 6371.0
FIBRE_KM_PER_MS = 200.0  # light in glass, about two thirds of c
# Of the 2 346 pairs of regions of Skyplane's measurements (2022) the median is 1.01 of the estimate, the 10th and 90th
# percentile are these; 84 % of the 1 226 pairs of Azure's published medians (May 2026) lie between. See
# benchmarks/bench_network.py.
ROUTE = 1.74  # the way of the fibre over the great circle, and equipment on it
LAST_MILES_MS = 3.0
ESTIMATE_P10, ESTIMATE_P90 = 0.77, 1.54
ESTIMATED = "great-circle estimate"
CONTROL_PLANE = "control-plane"  # the end of a measured link that is here, wherever that is


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Somewhere on Earth: a provider's region ("aws/us-east-1") or a city ("Frankfurt")."""

    key: str
    latitude: float
    longitude: float
    country: str  # ISO 3166 alpha-2
    jurisdictions: tuple[str, ...]  # what residency limits name: ("DE", "EU")
    g_co2_per_kwh: float | None = None  # of the grid it is on, a yearly mean
    pue: float | None = None  # total over IT energy of the provider's site


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A measured path between two places, both ways.

    `gbit_s` is 0 where only the round trip was measured, and `rtt_ms` is 0 where only the bandwidth was.
    """

    a: str
    b: str
    rtt_ms: float
    gbit_s: float
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRate:
    """The price of data leaving `provider` towards `scope`, from `from_gib` GiB a month upwards, in USD per GiB.

    `region` and `to` narrow it to where the data leaves and arrives: a region of the provider or a continent
    ("Europe"); None is anywhere. `domain.egress` says which rate counts where several fit.
    """

    provider: str
    scope: str  # "zone" (another zone of the region), "region" (another of its regions), "internet" (anywhere else)
    from_gib: float
    usd_per_gib: float
    source: str
    region: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """An RTT in milliseconds, how it is known, and its 10th and 90th percentile where it is estimated."""

    ms: float
    origin: str
    p10_ms: float | None = None
    p90_ms: float | None = None

    @property
    def told(self) -> str:
        """The origin, with the error of an estimate: "great-circle estimate, 8 of 10 are 40 to 81 ms"."""
        if self.p10_ms is None or self.p90_ms is None:
            return self.origin
        return f"{self.origin}, 8 of 10 are {self.p10_ms:,.0f} to {self.p90_ms:,.0f} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Places, measured links and egress prices; what is not measured is estimated and says so."""

    places: tuple[Place, ...] = ()
    links: tuple[Link, ...] = ()
    egress: tuple[EgressRate, ...] = ()

    def place(self, key: str) -> Place | None:
        """The place called `key`: exact, then case-insensitive, then "latitude,longitude"."""
        for candidate in self.places:
            if candidate.key == key:
                return candidate
        folded = key.casefold()
        for candidate in self.places:
            if candidate.key.casefold() == folded:
                return candidate
        return _coordinates(key)

    def round_trip(self, a: Place, b: Place) -> RoundTrip:
        """Of the first link between them with a round trip, else by the great circle: `estimated`."""
        for link in self.links:
            if link.rtt_ms > 0 and {link.a, link.b} == {a.key, b.key}:
                return RoundTrip(link.rtt_ms, link.origin)
        return estimated(a, b)


def _coordinates(key: str) -> Place | None:
    parts = key.split(",")
    if len(parts) != 2:
        return None
    try:
        latitude, longitude = float(parts[0]), float(parts[1])
    except ValueError:
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    return Place(key=key, latitude=latitude, longitude=longitude, country="", jurisdictions=())


def great_circle_km(a: Place, b: Place) -> float:
    """Distance over the Earth's surface by the haversine formula."""
    lat_a, lat_b = radians(a.latitude), radians(b.latitude)
    d_lat, d_lon = lat_b - lat_a, radians(b.longitude - a.longitude)
    h = sin(d_lat / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin(d_lon / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(h)))


def great_circle_rtt_ms(a: Place, b: Place) -> float:
    """Both ways at the speed of light in fibre over ROUTE times the great circle, and LAST_MILES_MS."""
    return LAST_MILES_MS + 2 * ROUTE * great_circle_km(a, b) / FIBRE_KM_PER_MS


def estimated(a: Place, b: Place) -> RoundTrip:
    """`great_circle_rtt_ms` with the range that four fifths of measured round trips over such a distance are in."""
    ms = great_circle_rtt_ms(a, b)
    return RoundTrip(ms, ESTIMATED, ESTIMATE_P10 * ms, ESTIMATE_P90 * ms)
