"""Notices as the customer reads them: as plain text or as a page of HTML.

Invariants: a value is put in once and never read as part of the template; what comes from outside is bounded,
freed of control and bidirectional characters, and escaped in HTML; at actions and steps whose reasons are on
request the result is the same whatever the reason; the digest is that of the very text shown.
"""

import datetime
import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, Literal, NamedTuple

from signalexchange.errors import MalformedError
from signalexchange.notices.catalogue import (
    PARTS,
    PLACEHOLDER,
    Catalogue,
    Notice,
    PartName,
    packaged_catalogue,
)
from signalexchange.notices.law import LANGUAGES, LanguageName

Value = str | int
Form = Literal["text", "html"]

MAX_LENGTHS: Final[Mapping[str, int]] = {
    "contact": 200,
    "institution": 100,
    "merchant": 100,
    "reference": 64,
}
"""Characters that a value of free text has at most."""
DATES: Final = frozenset({"date", "deadline"})
"""Placeholders that take Unix seconds, 0 to 2^33, shown in China's time."""
_MAX_TIME: Final = 2**33
_CHINA: Final = datetime.timezone(datetime.timedelta(hours=8))
_AMOUNT: Final = re.compile(r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,2})?")
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of characters that nobody sees, or that change what others look like."""
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_STYLE: Final = (
    "body{font:16px/1.6 sans-serif;max-width:42em;margin:2em auto;padding:0 1em}"
    "h1{font-size:1.4em}h2{font-size:1.1em;margin-bottom:0}p{margin-top:.3em}"
    ".small{color:#444;font-size:.9em}@media print{body{margin:0}}"
)


class Rendered(NamedTuple):
    """A notice as it was shown; `digest` is the SHA-256 of `text` in UTF-8 (NoticeShown.digest)."""

    code: str
    language: LanguageName
    text: str
    digest: bytes


def render(
    code: str,
    language: str,
    values: Mapping[str, Value],
    *,
    reason: str | None = None,
    form: Form = "text",
) -> Rendered:
    """Render a notice of the packaged catalogue with a value for each placeholder it wants, and no other.

    `reason` is an indicator code or a pattern; its text goes in where the notice shows reasons, and nowhere
    else. Dates are Unix seconds, amounts decimal yuan such as "1234.50". Raises MalformedError.
    """
    return render_with(packaged_catalogue(), code, language, values, reason=reason, form=form)


def render_with(
    notices: Catalogue,
    code: str,
    language: str,
    values: Mapping[str, Value],
    *,
    reason: str | None = None,
    form: Form = "text",
) -> Rendered:
    """As `render`, of any catalogue."""
    if language not in LANGUAGES:
        raise MalformedError(f"language is none of {', '.join(LANGUAGES)}")
    if form not in ("text", "html"):
        raise MalformedError("form is neither text nor html")
    spoken: LanguageName = language
    notice = notices.get(code)
    shown = _shown(notices, notice, spoken, values)
    parts = _parts(notices, notice, spoken, reason)
    title, disclaimer = notice.title.of(spoken), notices.law.disclaimer.of(spoken)
    contact = notices.frame.contact.of(spoken) if notice.kind in ("action", "step") else ""
    lines = _page if form == "html" else _plain
    text = lines(title, parts, contact, disclaimer, spoken, lambda words: _fill(words, shown))
    return Rendered(code, spoken, text, sha256(text.encode()).digest())


def _parts(
    notices: Catalogue, notice: Notice, language: LanguageName, reason: str | None
) -> list[tuple[str, str]]:
    """Headings and texts, placeholders still in them."""
    frame = notices.frame
    found = [_part(notices, notice, name, language) for name in PARTS[:-1]]
    if notice.asks_for_reasons:
        found.append((frame.why.of(language), frame.on_request.of(language)))
    elif notice.reasons == "shown" and reason is not None:
        about = notices.reason(reason)
        between = "" if language == "zh-CN" else " "
        found.append((frame.why.of(language), about.seen.of(language) + between + about.means.of(language)))
    if notice.law:
        heading = frame.heading(notice.kind, "law", language)
        found.append((heading, "\n".join(legal_lines(notices, notice, language))))
    found.append(_part(notices, notice, PARTS[-1], language))
    return found


def _part(notices: Catalogue, notice: Notice, name: PartName, language: LanguageName) -> tuple[str, str]:
    return notices.frame.heading(notice.kind, name, language), notice.part(name).of(language)


def legal_lines(notices: Catalogue, notice: Notice, language: LanguageName) -> list[str]:
    """What the law says, a line a fact with its source."""
    lines = []
    for fact_id in notice.law:
        fact = notices.law.fact(fact_id)
        if fact is not None:
            name, articles = fact.title.of(language), fact.articles.of(language)
            where = f"《{name}》{articles}" if language == "zh-CN" else f"{name}, {articles}"
            lines.append(f"{where} ({fact.source}, {fact.date}): {fact.text.of(language)}")
    return lines


# --- values


def _shown(
    notices: Catalogue, notice: Notice, language: LanguageName, values: Mapping[str, Value]
) -> dict[str, str]:
    """The values as they are shown. Raises MalformedError where one is missing, surplus or wrong."""
    wanted = notices.wants(notice)
    if missing := wanted - values.keys():
        raise MalformedError(f"{notice.code}: {min(missing)} has no value")
    if surplus := values.keys() - wanted:
        raise MalformedError(f"{notice.code}: takes no {min(surplus)[:40]}")
    return {name: _value(name, values[name], language) for name in wanted}


def _value(name: str, value: Value, language: LanguageName) -> str:
    if name in DATES:
        return _date(name, value, language)
    if not isinstance(value, str):
        raise MalformedError(f"{name} is no text")
    if name == "amount":
        if not _AMOUNT.fullmatch(value):
            raise MalformedError("amount is no decimal amount in yuan with at most two decimals")
        whole, dot, cents = value.partition(".")
        return f"{int(whole):,}{dot}{cents}"
    return _clean(name, value)


def _clean(name: str, value: str) -> str:
    """Free text, visible characters only. Raises MalformedError where nothing is left, or too much."""
    visible = "".join(" " if character.isspace() else character for character in value[:2_000])
    visible = "".join(each for each in visible if unicodedata.category(each) not in _HIDDEN)
    text = " ".join(unicodedata.normalize("NFC", visible).split())
    if not text:
        raise MalformedError(f"{name} is empty")
    if len(text) > MAX_LENGTHS[name] or len(value) > 2_000:
        raise MalformedError(f"{name} has more than {MAX_LENGTHS[name]} characters")
    return text


def _date(name: str, value: Value, language: LanguageName) -> str:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_TIME:
        raise MalformedError(f"{name} is no time in Unix seconds")
    at = datetime.datetime.fromtimestamp(value, _CHINA)
    if language == "zh-CN":
        return f"{at.year}年{at.month}月{at.day}日{at:%H:%M}（北京时间）"
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M} Beijing time (UTC+8)"


def _fill(words: str, shown: Mapping[str, str]) -> str:
    """Put values in, once: what looks like a placeholder in a value stays as it is."""
    return PLACEHOLDER.sub(lambda found: shown[found[1]], words)


# --- forms

_Fill = Callable[[str], str]


def _plain(
    title: str, parts: list[tuple[str, str]], contact: str, disclaimer: str, language: str, fill: _Fill
) -> str:
    blocks = [fill(title), *(f"{heading}\n{fill(text)}" for heading, text in parts)]
    return "\n\n".join([*blocks, *([fill(contact)] if contact else []), disclaimer]) + "\n"


def _page(
    title: str, parts: list[tuple[str, str]], contact: str, disclaimer: str, language: str, fill: _Fill
) -> str:
    """A page that loads and runs nothing."""

    def safe(words: str) -> str:
        return html.escape(fill(words), quote=True).replace("\n", "<br>")

    body = "\n".join(f"<h2>{html.escape(heading)}</h2>\n<p>{safe(text)}</p>" for heading, text in parts)
    foot = f'<p class="small">{safe(contact)}</p>\n' if contact else ""
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{safe(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{safe(title)}</h1>\n{body}\n{foot}<p class="small">{html.escape(disclaimer)}</p>\n'
        "</body>\n</html>\n"
    )
