"""The rulebook as data: the packaged one is whole, a wrong one is refused by name."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from signalexchange.errors import MalformedError
from signalexchange.roster import kind_value
from signalexchange.rulebook import ACTIONS, Rulebook, audience_allows, audience_mask, default_text


def parsed() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(default_text())
    return table


def written(table: dict[str, Any]) -> str:
    return json.dumps(table, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def test_the_packaged_rulebook_holds_what_members_need() -> None:
    rulebook = Rulebook.parse(default_text())
    assert rulebook.text() == default_text()
    assert {"cash-out-suspected", "refund-without-shipment", "terminal-compromised", "same-subject"} <= {
        code.code for code in rulebook.codes
    }
    assert rulebook.allows_purpose("transaction-screening", "ecommerce")
    assert not rulebook.allows_purpose("credit-decision", "ecommerce")
    assert not rulebook.allows_purpose("transaction-screening", "auditor")
    assert not rulebook.allows_purpose("curiosity", "bank")
    links_only = rulebook.code("same-subject")
    assert links_only is not None
    assert links_only.needs_links
    assert all("same-subject" not in purpose.codes for purpose in rulebook.purposes)


def test_measures_are_told_of_as_confirmed_and_shown_where_people_decide() -> None:
    rulebook = Rulebook.parse(default_text())
    told = {code.code: code.measure for code in rulebook.codes if code.measure != "none"}
    assert told == {"sanction-restricted": "restrict", "sanction-frozen": "freeze"}
    assert all(told.keys() <= purpose.code_set for purpose in rulebook.purposes)
    assert rulebook.cases.measures.of(ACTIONS["freeze"]).officers == 2
    assert rulebook.cases.measures.of(ACTIONS["intercept"]).escalates_on == ()


def _twice(table: dict[str, Any]) -> None:
    table["codes"].append(table["codes"][0])


def _unknown_code(table: dict[str, Any]) -> None:
    table["purposes"][0]["codes"].append("no-such-code")


def _falling_advice(table: dict[str, Any]) -> None:
    table["purposes"][0]["advice"] = {
        "low": "freeze",
        "elevated": "allow",
        "high": "allow",
        "severe": "allow",
    }


def _falling_weights(table: dict[str, Any]) -> None:
    table["codes"][0]["weights"] = {"suspected": 5, "corroborated": 4, "confirmed": 3}


def _weightless(table: dict[str, Any]) -> None:
    table["codes"][0]["weights"] = {"suspected": 0, "corroborated": 0, "confirmed": 0}


def _bands(table: dict[str, Any]) -> None:
    table["model"]["bands"] = {"elevated": 300, "high": 200, "severe": 700}


def _burst(table: dict[str, Any]) -> None:
    table["limits"]["look_ups"]["burst"] = 999


def _model(table: dict[str, Any]) -> None:
    table["model"]["version"] = "oracle-1"


def _lone_freeze(table: dict[str, Any]) -> None:
    table["cases"]["measures"]["freeze"]["officers"] = 1


def _restrict_unasked(table: dict[str, Any]) -> None:
    table["cases"]["measures"]["restrict"]["escalates_on"] = []


def _intercept_asked(table: dict[str, Any]) -> None:
    table["cases"]["measures"]["intercept"]["escalates_on"] = ["overdue"]


def _no_time_to_explain(table: dict[str, Any]) -> None:
    table["cases"]["explanation_days_most"] = table["cases"]["explanation_days"] - 1


def _suspected_sanction(table: dict[str, Any]) -> None:
    code = next(code for code in table["codes"] if code["measure"] == "freeze")
    code["minimum_grade"] = "suspected"


def _extra(table: dict[str, Any]) -> None:
    table["surprise"] = True


@pytest.mark.parametrize(
    "change",
    [
        _twice,
        _unknown_code,
        _falling_advice,
        _falling_weights,
        _weightless,
        _bands,
        _burst,
        _model,
        _extra,
        _lone_freeze,
        _restrict_unasked,
        _intercept_asked,
        _no_time_to_explain,
        _suspected_sanction,
    ],
)
def test_a_rulebook_that_contradicts_itself_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    table = parsed()
    change(table)
    with pytest.raises(MalformedError):
        Rulebook.parse(written(table))


def test_a_rulebook_has_one_spelling() -> None:
    with pytest.raises(MalformedError):
        Rulebook.parse(json.dumps(parsed()))


def test_audiences() -> None:
    banks = audience_mask((kind_value("bank"),))
    assert audience_allows(0, "ecommerce")
    assert audience_allows(banks, "bank")
    assert not audience_allows(banks, "ecommerce")
