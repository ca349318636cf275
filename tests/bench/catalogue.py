"""The benchmarks by name, in the order they are run."""

from collections.abc import Awaitable, Callable, Mapping

from tests.bench.anatomy import breakdown
from tests.bench.custodian import custodian
from tests.bench.detector import detector
from tests.bench.detector_exchange import detector_exchange
from tests.bench.flows import flows
from tests.bench.look_up import look_up
from tests.bench.matching import matching
from tests.bench.measure import Effort
from tests.bench.proofs import proof
from tests.bench.report import Result
from tests.bench.stores import disk, growth, publish
from tests.bench.tokens import tokens
from tests.bench.world import World

BENCHMARKS: Mapping[str, Callable[[World, Effort], Awaitable[list[Result]]]] = {
    "look_up": look_up,
    "breakdown": breakdown,
    "custodian": custodian,
    "tokens": tokens,
    "publish": publish,
    "growth": growth,
    "disk": disk,
    "proof": proof,
    "matching": matching,
    "flows": flows,
    "detector": detector,
    "detector_exchange": detector_exchange,
}
"""`disk`, `growth` and `publish` share one survey of stores: whichever comes first pays for it."""
