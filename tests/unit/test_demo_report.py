"""The report says the same to machines and to people."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from exchange.demo.cashout import Matching
from exchange.demo.caught import Caught
from exchange.demo.inquiry import Inquiry
from exchange.demo.proceedings import Proceedings
from exchange.demo.ranking import Ranking
from exchange.demo.report import MemberOutcome, Outcome, show
from exchange.demo.scan import Findings
from exchange.evaluation.actors import Score


def ranking(*rows: tuple[float, int, int]) -> Ranking:
    result = Ranking()
    result.merge(rows)
    return result


_MATCHING = Matching(
    found=Score(found=18, planted=20, named=19),
    compared={
        "alone": {
            "bank-a": {"precision": 1.0, "recall": 0.1},
            "b": {"precision": 0.96, "recall": 0.25},
        },
        "pooled": {"precision": 0.95, "recall": 0.95},
        "published": {"share_of_ordinary_rows": 0.015},
    },
    matches=3,
    by_pattern={"funds loop": 2, "payer ring": 1},
    seconds=[0.01, 0.02, 0.5],
    published=120,
    rows=6_000,
)


_CAUGHT = Caught.of(
    {
        member: {
            "rankings": {
                "rules": [[0, 4, 1]],
                "alone": [[500, 2, 1], [0, 2, 0]],
                "with_exchange": [[900, 1, 1]],
            },
            "caught": {
                "frauds": 3,
                "caught": 2,
                "thanks_to_exchange": 1,
                "thanks_to_model": 1,
                "genuine": 200,
                "stopped_genuine": 1,
            },
            "decided": 2_000,
            "seconds": 0.5,
        }
        for member in ("bank-a", "b")
    }
)


_PROCEEDINGS = Proceedings(
    match_id="ab" * 16,
    pattern="bust out",
    acting="bank-a",
    other="b",
    steps=("open", "authenticate", "explain", "restrict", "receive-appeal", "decide-appeal", "close"),
    days=8,
    before="explain",
    during="authenticate",
    after="allow",
    corrections={"disputed": 1, "refuted": 1},
    acknowledged=2,
    lifted=True,
)


_INQUIRY = Inquiry(
    pattern="funds loop",
    members=("bank-a", "b"),
    signals=7,
    matches=2,
    verified=("bank-a", "b"),
    problems=(),
)


@pytest.fixture
def outcome() -> Outcome:
    own, shared = ranking((1.0, 1, 1), (0.0, 3, 1)), ranking((1.0, 2, 2), (0.0, 2, 0))
    nothing = ranking((0.0, 4, 0))
    return Outcome(
        source="made up",
        first_day="2026-01-05",
        days=40,
        evaluated_from_day=28,
        members=[
            MemberOutcome("bank-a", "bank", "a", 4, 2, 3, 50, 1),
            MemberOutcome("b", "bank", "b", 1, 1, 1, 2, 0),
        ],
        rankings={
            "all": {"own_view": own, "with_exchange": shared},
            "scenario_2": {"own_view": nothing, "with_exchange": nothing},
        },
        yardstick={
            "all": {"own_count": own, "pooled_count": own},
            "scenario_2": {"own_count": nothing, "pooled_count": nothing},
        },
        matching=_MATCHING,
        caught=_CAUGHT,
        proceedings=_PROCEEDINGS,
        inquiry=_INQUIRY,
        log_size=12,
        log_verified=True,
        log_entries={"batch": 3, "look_up": 4},
        scan=Findings(files=3, bytes_read=4096),
        raw_identifiers=70,
        raw_identifiers_found=0,
        control_found=True,
        stages={"replay": 1.25, "audit": 0.5},
        seconds=1.8,
    )


def test_the_file_has_the_promised_keys(outcome: Outcome, tmp_path: Path) -> None:
    outcome.write(tmp_path / "report.json")
    found: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    assert found["members"] == 2
    assert found["signals_published"] == 3
    assert found["lookups"] == 4
    assert found["average_precision"]["own_view"] == pytest.approx(0.75)
    assert found["average_precision"]["with_exchange"] == 1.0
    assert found["average_precision"]["scenario_2"]["own_view"] is None
    assert (found["log"]["size"], found["log"]["verified"]) == (12, True)
    # Alone: of 4 scored 500, 2 are frauds, and none below; with the exchange both scored 900 are.
    assert found["detector"]["average_precision"] == {"rules": 0.25, "alone": 0.5, "with_exchange": 1.0}
    assert found["detector"]["transactions_per_second"] == 4_000
    assert found["detector"]["by_member"]["b"]["thanks_to"] == {"rules": 0, "model": 1, "exchange": 1}
    assert found["matching"]["precision"] == pytest.approx(18 / 19, abs=1e-4)
    assert found["matching"]["recall"] == 0.9
    assert found["matching"]["best_member_alone_recall"] == 0.25
    assert found["matching"]["seconds_from_last_signal_to_match_p99"] == 0.5
    assert found["cases"]["steps"] == 7
    assert found["cases"]["days"] == 8
    assert found["cases"]["appeal_paused"] is True
    assert (found["cases"]["corrections"], found["cases"]["acknowledged"]) == (2, 2)
    assert found["cases"]["lifted"] is True
    assert found["disclosure"]["package_verified"] is True
    assert (found["disclosure"]["packages"], found["disclosure"]["signals"]) == (2, 7)
    assert found["raw_identifiers_found_at_hub"] == 0
    assert found["seconds"] == pytest.approx(1.8, abs=0.1)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"log_verified": False}, "did not verify"),
        ({"raw_identifiers_found": 2}, "2 raw identifiers"),
        ({"control_found": False}, "proves nothing"),
        ({"matching": replace(_MATCHING, matches=0)}, "nobody was told"),
        ({"proceedings": None}, "no match called for a case"),
        ({"proceedings": replace(_PROCEEDINGS, during="explain")}, "did not pause automated use"),
        ({"proceedings": replace(_PROCEEDINGS, before="authenticate")}, "did not pause automated use"),
        (
            {"proceedings": replace(_PROCEEDINGS, corrections={"disputed": 1}, acknowledged=1)},
            "what came of it",
        ),
        ({"proceedings": replace(_PROCEEDINGS, acknowledged=1)}, "not every correction"),
        ({"proceedings": replace(_PROCEEDINGS, lifted=False)}, "not lifted"),
        ({"inquiry": None}, "no match for law enforcement"),
        ({"inquiry": replace(_INQUIRY, verified=("b",))}, "it never came"),
        ({"inquiry": replace(_INQUIRY, signals=0)}, "it never came"),
        ({"inquiry": replace(_INQUIRY, problems=("a proof",))}, "did not verify: a proof"),
    ],
)
def test_what_must_not_be_is_a_failure(outcome: Outcome, change: dict[str, Any], complaint: str) -> None:
    assert outcome.failures() == []
    (failure,) = replace(outcome, **change).failures()
    assert complaint in failure


def test_the_summary_shows_members_numbers_and_places(outcome: Outcome) -> None:
    console = Console(record=True, width=120, file=io.StringIO())
    show(outcome, console, places={"report": Path("var/demo/report.json")})
    text = console.export_text()
    for expected in ("bank-a", "0.7500", "1.0000", "none to rank", "12 entries, verified offline", "0 of 70"):
        assert expected in text
    for expected in ("20 planted", "bank-a alone", "0.250", "2 funds loop, 1 payer ring", "0.5 s (p99)"):
        assert expected in text
    for expected in ("0.50%", "rules 0.250, alone 0.500, with exchange 1.000"):
        assert expected in text
    for expected in (
        "while it is undecided",
        "7 signed steps in 8 days",
        "1 disputed, 1 refuted",
        "package of b",
    ):
        assert expected in text
    assert "var/demo/report.json" in text
    assert "failed" not in text
