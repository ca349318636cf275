"""The benchmarks by name, in the order they are run."""

from collections.abc import Awaitable, Callable, Mapping

from tests.bench.custodian import custodian
from tests.bench.measure import Effort
from tests.bench.report import Result
from tests.bench.world import World

BENCHMARKS: Mapping[str, Callable[[World, Effort], Awaitable[list[Result]]]] = {
    "custodian": custodian,
}
