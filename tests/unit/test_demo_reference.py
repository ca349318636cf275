"""The yardstick equals what counting payment by payment gives."""

from exchange.demo import reference
from exchange.demo.ranking import Ranking
from exchange.replay import generator
from exchange.replay.transactions import DAY


def test_counts_equal_those_of_each_payment_on_its_own() -> None:
    size = generator.Size(customers=40, terminals=35, days=60, compromised_a_day=0.3)
    table = generator.generate(6, size)
    rows = [
        {**row, "time": int(row["TX_DATETIME"].timestamp()) - generator.START} for row in table.to_pylist()
    ]
    expected = {kind: {view: Ranking() for view in reference.VIEWS} for kind in ("all", "scenario_2")}
    frauds = [row for row in rows if row["TX_FRAUD"]]
    for row in rows:
        morning = row["time"] // DAY * DAY
        if morning < 28 * DAY:
            continue
        known = [
            fraud
            for fraud in frauds
            if fraud["TERMINAL_ID"] == row["TERMINAL_ID"]
            and fraud["time"] + 7 * DAY <= morning
            # known on the first morning after the delay, and forgotten 28 days after that
            and morning - (-(-(fraud["time"] + 7 * DAY) // DAY) * DAY) < 28 * DAY
        ]
        own = sum(fraud["CUSTOMER_ID"] % 4 == row["CUSTOMER_ID"] % 4 for fraud in known)
        for kind, fraud in (("all", row["TX_FRAUD"] == 1), ("scenario_2", row["TX_FRAUD_SCENARIO"] == 2)):
            expected[kind]["own_count"].add(own, fraud)
            expected[kind]["pooled_count"].add(len(known), fraud)
    found = reference.plain_counts(table, generator.START, 28)
    for kind, views in expected.items():
        for view, ranking in views.items():
            assert found[kind][view].rows() == ranking.rows()
