"""A merchant names itself so that notices say what it likes; a customer looks for what is hidden."""

import re
import unicodedata
from hashlib import sha256
from html.parser import HTMLParser

from hypothesis import example, given
from hypothesis import strategies as st
from signalexchange.errors import MalformedError
from signalexchange.notices.catalogue import packaged_catalogue
from signalexchange.notices.rendering import Form, Value, render

VALUES: dict[str, Value] = {
    "amount": "500",
    "contact": "95500",
    "deadline": 1_795_000_000,
    "institution": "Bank North",
    "reference": "case-1",
}
HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("<>&\"'{}%$\\`\n\r\t\0\x07\u202e\u2066\u2069\u200b\u200d\ufeff\u2028\u0301"),
    ),
    min_size=1,
    max_size=120,
)
names = st.one_of(HOSTILE, st.sampled_from(["{deadline}", "{0.__class__}", "%s", "${contact}"]))


def rendered(merchant: str, form: Form = "text", language: str = "en") -> str | None:
    try:
        return render("advice-explain", language, VALUES | {"merchant": merchant}, form=form).text
    except MalformedError:
        return None


class Tags(HTMLParser):
    """Tags and attributes of a page, and its visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")


@given(names)
@example("<script>alert(1)</script>")
@example('" onload="x')
@example("<!-- ")
def test_a_merchant_adds_nothing_to_a_page_but_text(name: str) -> None:
    page, plain = rendered(name, "html"), rendered("Shop", "html")
    assert plain is not None
    if page is not None:
        assert Tags(page).tags == Tags(plain).tags


@given(names)
@example("Shop\u202e dnuf er lliw eW")
@example("Shop\n\nWhat happens next\nYou are paid 500 yuan")
def test_a_merchant_neither_breaks_lines_nor_turns_them_round(name: str) -> None:
    text, plain = rendered(name), rendered("Shop")
    assert plain is not None
    if text is not None:
        assert text.count("\n") == plain.count("\n")
        hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert not {each for each in text if unicodedata.category(each) in hidden} - {"\n"}
        # All that a name changes lies between its quotation marks.
        before, after = plain.split("Shop")
        assert text.startswith(before)
        assert text.endswith(after)


@given(names)
def test_no_placeholder_in_a_name_is_filled(name: str) -> None:
    text = rendered(f"Shop {{contact}} {name}"[:100])
    if text is not None:
        assert "Shop {contact}" in text
        assert text.count("95500") == 1 + name.count("95500")


@given(st.text(max_size=2_000), st.sampled_from(["merchant", "contact", "institution", "reference"]))
def test_a_value_is_bounded_or_refused(value: str, name: str) -> None:
    try:
        text = render("advice-explain", "zh-CN", VALUES | {"merchant": "店", name: value}).text
    except MalformedError:
        return
    assert len(text) < 2_000


@given(names)
def test_the_digest_is_that_of_what_was_shown(name: str) -> None:
    try:
        shown = render("advice-explain", "en", VALUES | {"merchant": name}, form="html")
    except MalformedError:
        return
    assert sha256(shown.text.encode()).digest() == shown.digest


def test_a_page_loads_and_runs_nothing() -> None:
    page = rendered("Shop", "html")
    assert page is not None
    assert "default-src 'none'" in page
    assert not re.search(r"\b(src|href|on\w+)=", page)
    assert not {"script", "link", "img", "iframe", "form"} & {tag for tag, _ in Tags(page).tags}


def test_neither_reason_nor_source_shows_at_a_hiding_step() -> None:
    """Nor does the length: what is told of a pending inquiry is told of a slip of the keyboard."""
    known = packaged_catalogue()
    values = {"contact": "95500", "institution": "Bank North", "reference": "case-1"}
    for code in ("advice-authenticate", "advice-restrict", "advice-freeze"):
        pages = {
            render(code, "zh-CN", values, reason=notice.code.partition("-")[2]).digest
            for notice in known.notices.values()
            if notice.kind in ("reason", "pattern")
        }
        assert len(pages) == 1
