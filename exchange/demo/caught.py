"""What the members' detectors caught, and thanks to what: for the report.

Invariants: a fraud that was stopped counts once, as caught thanks to the exchange where the same detector
alone would have let it pass, else thanks to a rule where one applied, else thanks to the model; a
transaction is stopped where it is authenticated, held or handed to a person.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from rich.box import SIMPLE
from rich.table import Table

from exchange.demo.ranking import Ranking

VIEWS: Final = ("rules", "alone", "with_exchange")
THANKS: Final = ("rules", "model", "exchange")


@dataclass(frozen=True)
class Caught:
    """Counts by member, rankings by view, and how long it took: `seconds` of all members together."""

    members: Mapping[str, Counter[str]]
    rankings: Mapping[str, Ranking]
    decided: int
    seconds: float

    @classmethod
    def of(cls, summaries: Mapping[str, Mapping[str, Any]]) -> Self:
        """From the members' `Watch.summary`."""
        rankings = {view: Ranking() for view in VIEWS}
        for summary in summaries.values():
            for view, ranking in rankings.items():
                ranking.merge(summary["rankings"][view])
        return cls(
            {member: Counter(summary["caught"]) for member, summary in summaries.items()},
            rankings,
            sum(summary["decided"] for summary in summaries.values()),
            sum(summary["seconds"] for summary in summaries.values()),
        )

    def document(self) -> dict[str, Any]:
        """The same for `report.json`. `transactions_per_second`: of one member, its journal and the exchange
        included, while all members share the machine."""
        precision = {view: ranking.average_precision() for view, ranking in self.rankings.items()}
        return {
            "average_precision": {
                view: None if value is None else round(value, 6) for view, value in precision.items()
            },
            "transactions_per_second": round(self.decided / self.seconds) if self.seconds else None,
            "decided": self.decided,
            "by_member": {
                member: {
                    "frauds": caught["frauds"],
                    "caught": caught["caught"],
                    "thanks_to": {name: caught[f"thanks_to_{name}"] for name in THANKS},
                    "missed_though_caught_alone": caught["missed_with_exchange"],
                    "genuine": caught["genuine"],
                    "genuine_stopped": caught["stopped_genuine"],
                }
                for member, caught in self.members.items()
            },
        }

    def table(self) -> Table:
        """The same for people."""
        table = Table(title="What the members' detectors caught", title_justify="left", box=SIMPLE)
        table.add_column("member", no_wrap=True)
        for heading in ("frauds", "caught", "by rules", "by model", "by exchange", "genuine stopped"):
            table.add_column(heading, justify="right")
        for member, caught in self.members.items():
            share = caught["stopped_genuine"] / caught["genuine"] if caught["genuine"] else 0.0
            thanks = (f"{caught[f'thanks_to_{name}']:,}" for name in THANKS)
            numbers = f"{caught['frauds']:,}", f"{caught['caught']:,}"
            table.add_row(member, *numbers, *thanks, f"{share:.2%}")
        found = self.document()
        values = ", ".join(
            f"{view.replace('_', ' ')} {'none to rank' if value is None else f'{value:.3f}'}"
            for view, value in found["average_precision"].items()
        )
        table.caption = f"Average precision: {values}."
        table.caption_justify = "left"
        return table
