"""The catalogue of customer notices: whole in both languages, checked by name, reasons kept neutral."""

import json
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any, get_args

import pytest
from signalexchange.errors import MalformedError
from signalexchange.notices import advice_notice
from signalexchange.notices.catalogue import (
    FILES,
    NEUTRAL_CODE,
    PARTS,
    Catalogue,
    packaged_catalogue,
    parse_frame,
    parse_notices,
)
from signalexchange.notices.law import LANGUAGES, packaged_law, parse_law
from signalexchange.notices.rendering import MAX_LENGTHS, Rendered, Value, render, render_with
from signalexchange.rulebook import ACTIONS, PatternName, Rulebook, default_text
from signalexchange.v1.signal_service_pb2 import Action

CATALOGUE = packaged_catalogue()
CODES = [code.code for code in Rulebook.parse(default_text()).codes]
STEPS = [
    "explanation-asked",
    "explanation-received",
    "explanation-satisfactory",
    "explanation-unsatisfactory",
    "explanation-overdue",
    "appeal-received",
    "appeal-granted",
    "appeal-rejected",
    "closed-confirmed",
    "closed-refuted",
    "closed-inconclusive",
    "correction",
]
WANTED = [
    *(f"advice-{name}" for name in (*ACTIONS, "lift")),
    *(f"step-{name}" for name in STEPS),
    *(f"reason-{code}" for code in sorted({*CODES, "sanction-restricted", "sanction-frozen"})),
    *(f"pattern-{name}" for name in get_args(PatternName)),
    *(f"education-{topic}" for topic in ("how-it-works", "cost", "liability", "accounts", "help")),
]
EXAMPLES: dict[str, Value] = {
    "amount": "1234.50",
    "contact": "95500",
    "date": 1_795_000_000,
    "deadline": 1_795_000_000,
    "institution": "Bank North",
    "merchant": "Shop River",
    "reference": "case-1",
}


def values_of(code: str) -> dict[str, Value]:
    return {name: EXAMPLES[name] for name in CATALOGUE.wants(CATALOGUE.get(code))}


@pytest.mark.parametrize("code", WANTED)
def test_everything_has_its_notice_in_both_languages(code: str) -> None:
    notice = CATALOGUE.notices[code]
    for text in notice.texts:
        assert any("一" <= character <= "鿿" for character in text.zh_cn)
        assert text.en.isascii() or "“" in text.en
        assert not re.search("[一-鿿]", text.en)


@pytest.mark.parametrize("code", sorted(CATALOGUE.notices))
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_notice_renders_with_its_parts_and_the_line_on_advice(code: str, language: str) -> None:
    for form in ("text", "html"):
        rendered = render(code, language, values_of(code), form=form)
        notice = CATALOGUE.get(code)
        assert "{" not in rendered.text.replace(css(rendered), "")
        assert packaged_law().disclaimer.of(rendered.language) in rendered.text
        for part in (*PARTS, *(("law",) if notice.law else ())):
            assert CATALOGUE.frame.heading(notice.kind, part, rendered.language) in rendered.text
        for name in notice.law:
            fact = packaged_law().fact(name)
            assert fact is not None
            assert fact.source in rendered.text


def css(rendered: Rendered) -> str:
    found = re.search(r"<style>.*?</style>", rendered.text)
    return found[0] if found else "\0"


def test_notices_are_unlike_each_other() -> None:
    for language in LANGUAGES:
        for kind in FILES.values():
            notices = [notice for notice in CATALOGUE.notices.values() if notice.kind == kind]
            titles = {notice.title.of(language) for notice in notices}
            assert len(titles) == len(notices)


@pytest.mark.parametrize("name", list(ACTIONS))
def test_advice_goes_with_its_notice(name: str) -> None:
    assert advice_notice(ACTIONS[name]).code == f"advice-{name}"


def test_what_has_no_notice_gets_the_neutral_one() -> None:
    assert CATALOGUE.reason("a-code-of-tomorrow").code == NEUTRAL_CODE
    assert advice_notice(Action.ACTION_UNSPECIFIED).code == NEUTRAL_CODE
    assert CATALOGUE.reason("funds-loop").code == "pattern-funds-loop"
    assert CATALOGUE.reason("repay-and-respend").code == "reason-repay-and-respend"


def test_a_rulebook_with_a_code_that_lacks_a_notice_is_found_out() -> None:
    rulebook = Rulebook.parse(default_text())
    assert CATALOGUE.lacking(rulebook) == []
    more = rulebook.codes[0].model_copy(update={"code": "brand-new"})
    assert CATALOGUE.lacking(rulebook.model_copy(update={"codes": (*rulebook.codes, more)})) == [
        "reason-brand-new"
    ]


# --- what the law says


def test_the_amounts_are_those_of_the_interpretations() -> None:
    found = {
        (fact.id, each.counter, each.level): each.yuan
        for fact in packaged_law().facts
        for each in fact.thresholds
    }
    card, payment = "credit-card-interpretation", "payment-settlement-interpretation"
    assert found == {
        (card, "volume", "serious"): 1_000_000,
        (card, "overdue", "serious"): 200_000,
        (card, "loss", "serious"): 100_000,
        (card, "volume", "especially-serious"): 5_000_000,
        (card, "overdue", "especially-serious"): 1_000_000,
        (card, "loss", "especially-serious"): 500_000,
        (payment, "volume", "serious"): 5_000_000,
        (payment, "gain", "serious"): 100_000,
        (payment, "volume", "especially-serious"): 25_000_000,
        (payment, "gain", "especially-serious"): 500_000,
    }
    assert "法释〔2018〕19号" in fact_source(card)
    assert fact_source(payment) == "法释〔2019〕1号"


def fact_source(name: str) -> str:
    fact = packaged_law().fact(name)
    assert fact is not None
    return fact.source


def test_the_example_of_the_costs_adds_up() -> None:
    text = CATALOGUE.get("education-cost")
    fee, interest = 10_000 * 8 // 100, 10_000 * 5 * 30 // 10_000
    assert f"{10_000 - fee:,} arrive and {fee} are gone" in text.seen.en
    assert f"30 days cost {interest} yuan: {fee + interest} in all" in text.means.en
    assert f"about {100 * (fee + interest) / (10_000 - fee):.1f} %" in text.means.en
    assert f"{12 * fee:,}" in text.means.en


# --- neutral where a reason might have to stay hidden

HIDING = ["advice-authenticate", "advice-intercept", "advice-restrict", "advice-freeze"]
REASONS = [None, "other", "no-such-code", *CODES, *get_args(PatternName)]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", ["text", "html"])
def test_where_a_reason_might_stay_hidden_all_notices_are_the_same_bytes(language: str, form: str) -> None:
    on_request = [notice.code for notice in CATALOGUE.notices.values() if notice.reasons == "on-request"]
    assert set(HIDING) <= set(on_request)
    for code in on_request:
        shown = {
            render(code, language, values_of(code), reason=reason, form=form)  # type: ignore[arg-type]
            for reason in REASONS
        }
        assert len(shown) == 1, code
        (rendered,) = shown
        assert CATALOGUE.frame.on_request.of(rendered.language) in rendered.text


def test_an_explanation_is_asked_for_with_its_reason() -> None:
    plain = render("advice-explain", "en", values_of("advice-explain"))
    with_reason = render("advice-explain", "en", values_of("advice-explain"), reason="mule-account")
    assert "passing on other people's money" in with_reason.text
    assert "passing on" not in plain.text
    unknown = render("advice-explain", "en", values_of("advice-explain"), reason="brand-new")
    assert CATALOGUE.get(NEUTRAL_CODE).seen.en in unknown.text


# --- values


def test_dates_and_amounts_are_written_as_the_language_has_them() -> None:
    values = values_of("advice-explain") | {"amount": "1234567.5", "deadline": 1_796_119_200}
    chinese, english = (render("advice-explain", language, values).text for language in LANGUAGES)
    assert "2026年12月1日18:00（北京时间）" in chinese
    assert "1 December 2026, 18:00 Beijing time (UTC+8)" in english
    assert "1,234,567.5" in chinese
    assert "1,234,567.5" in english


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"merchant": None}, "merchant has no value"),
        ({"bonus": "x"}, "takes no bonus"),
        ({"merchant": ""}, "merchant is empty"),
        ({"merchant": "\u202e\x07\n"}, "merchant is empty"),
        ({"merchant": "x" * (MAX_LENGTHS["merchant"] + 1)}, "more than 100 characters"),
        ({"merchant": 7}, "merchant is no text"),
        ({"amount": "1e9"}, "amount is no decimal"),
        ({"amount": "-5"}, "amount is no decimal"),
        ({"amount": "٣"}, "amount is no decimal"),
        ({"deadline": "tomorrow"}, "deadline is no time"),
        ({"deadline": -1}, "deadline is no time"),
        ({"deadline": 2**40}, "deadline is no time"),
        ({"deadline": True}, "deadline is no time"),
    ],
)
def test_values_that_are_missing_surplus_or_wrong_are_refused(
    change: dict[str, Value | None], says: str
) -> None:
    merged: dict[str, Any] = values_of("advice-explain") | change
    values = {name: value for name, value in merged.items() if value is not None}
    with pytest.raises(MalformedError, match=says):
        render("advice-explain", "en", values)


def test_what_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(MalformedError, match="no notice 'advice-nonsense'"):
        render("advice-nonsense", "en", {})
    with pytest.raises(MalformedError, match="language"):
        render("reason-other", "fr", {})
    with pytest.raises(MalformedError, match="form"):
        render("reason-other", "en", {}, form="pdf")  # type: ignore[arg-type]


# --- a catalogue that is wrong


def data(name: str) -> Any:
    return json.loads(files("signalexchange.notices").joinpath(name).read_text("utf-8"))


def made(change: Callable[[dict[str, Any]], None]) -> Catalogue:
    """The packaged catalogue with one notice changed."""
    actions = data("actions.json")
    change(actions[0])
    notices = parse_notices("actions.json", json.dumps(actions))
    return Catalogue(notices, CATALOGUE.frame, packaged_law())


def lacks(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(row: dict[str, Any]) -> None:
        for key in path[:-1]:
            row = row[key]
        del row[path[-1]]

    return change


def has(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(row: dict[str, Any]) -> None:
        for key in path[:-1]:
            row = row[key]
        row[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *((lacks(part, language), part) for part in ("title", *PARTS) for language in LANGUAGES),
        *((has(" ", part, language), part) for part in ("title", *PARTS) for language in LANGUAGES),
        (lacks("reviewed_by"), "reviewed_by"),
        (lacks("version"), "version"),
        (lacks("reasons"), "say whether reasons are shown"),
        (has("always", "reasons"), "reasons"),
        (has(["no-such-law"], "law"), "no fact no-such-law"),
        (has("advice-freeze", "code"), "advice-freeze: the code stands twice"),
        (has("reason-allow", "code"), "begin with advice-"),
        (has({"zh-CN": "{bonus}", "en": "{bonus}"}, "next"), "unknown placeholder bonus"),
        (has({"zh-CN": "到{deadline}", "en": "soon"}, "next"), "placeholders differ"),
        (has({"zh-CN": "一{0}", "en": "one {0}"}, "next"), "brace"),
        (has({"zh-CN": "一{", "en": "one {"}, "next"), "brace"),
        (has({"zh-CN": "一", "en": "one {merchant.__class__}"}, "next"), "brace"),
        (has("x", "surprise"), "surprise"),
    ],
)
def test_a_catalogue_that_is_wrong_is_refused_by_name(
    change: Callable[[dict[str, Any]], None], says: str
) -> None:
    with pytest.raises(MalformedError, match=says) as caught:
        made(change)
    assert "advice-" in str(caught.value) or "reason-allow" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"code": 7}]'])
def test_data_files_that_are_none_are_refused(text: str) -> None:
    for name in FILES:
        with pytest.raises(MalformedError, match=name):
            parse_notices(name, text)
    for parse in (parse_law, parse_frame):
        with pytest.raises(MalformedError):
            parse(text)


def test_a_heading_or_a_neutral_notice_that_lacks_is_noticed() -> None:
    frame = CATALOGUE.frame.model_copy(update={"headings": {}})
    with pytest.raises(MalformedError, match="heading"):
        Catalogue([], frame, packaged_law())
    alone = Catalogue([CATALOGUE.get("advice-explain")], CATALOGUE.frame, packaged_law())
    with pytest.raises(MalformedError, match="neutral"):
        render_with(alone, "advice-explain", "en", values_of("advice-explain"), reason="mule-account")


def test_law_ids_are_ascending() -> None:
    law = data("law.json")
    law["facts"].append(law["facts"][0])
    with pytest.raises(MalformedError, match="ascending"):
        parse_law(json.dumps(law))
