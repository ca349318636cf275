"""The catalogue of customer notices: data files, read and checked as a whole.

Invariants: every text stands in both languages; placeholders are of the closed list and the same in both;
what a notice says of the law is a fact of law.json; a code stands once and is never used again for another
meaning; what wants a review says whether it had one.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, ValidationError

from signalexchange.documents import Record
from signalexchange.errors import MalformedError
from signalexchange.notices.law import (
    LANGUAGES,
    IsoDate,
    LanguageName,
    Law,
    Name,
    Text,
    Words,
    first_problem,
    packaged_law,
)
from signalexchange.rulebook import ACTIONS, PatternName, Rulebook

KindName = Literal["action", "step", "reason", "pattern", "education"]
Reasons = Literal["shown", "on-request"]
PartName = Literal["seen", "means", "options", "next"]

FILES: Final[Mapping[str, KindName]] = {
    "actions.json": "action",
    "steps.json": "step",
    "reasons.json": "reason",
    "patterns.json": "pattern",
    "education.json": "education",
}
"""Data files and what their notices are about."""
PREFIXES: Final[Mapping[KindName, str]] = {
    "action": "advice-",
    "step": "step-",
    "reason": "reason-",
    "pattern": "pattern-",
    "education": "education-",
}
NEUTRAL_CODE: Final = "reason-other"
"""The notice that stands in wherever a code has none of its own."""
PARTS: Final[tuple[PartName, ...]] = ("seen", "means", "options", "next")
"""Parts of a notice that are texts of its own; the law comes before "next"."""
PLACEHOLDERS: Final = frozenset(
    {"amount", "contact", "date", "deadline", "institution", "merchant", "reference"}
)
"""All there are."""
PLACEHOLDER: Final = re.compile(r"\{([a-z]+)\}")


class Review(Record):
    """Who read a version of a notice, by role, and when."""

    role: Words
    date: IsoDate


class Notice(Record):
    """A notice. `reasons`, of actions and steps alone, says whether the reason's text may go with it;
    `reviewed_by` is None while nobody has reviewed this version."""

    code: Name
    kind: KindName
    version: Annotated[int, Field(strict=True, ge=1)]
    reviewed_by: Review | None
    reasons: Reasons | None
    title: Text
    seen: Text
    means: Text
    options: Text
    law: tuple[Name, ...]
    next: Text

    def part(self, name: PartName) -> Text:
        """One of its texts."""
        text: Text = getattr(self, name)
        return text

    @property
    def texts(self) -> list[Text]:
        """All its texts."""
        return [self.title, *(self.part(name) for name in PARTS)]

    @property
    def asks_for_reasons(self) -> bool:
        """Whether the customer is told that reasons are given on request."""
        return self.reasons == "on-request"


class Frame(Record):
    """What stands around every notice: headings, and the lines on reasons and on whom to ask."""

    headings: dict[str, Text]
    education_headings: dict[str, Text]
    on_request: Text
    why: Text
    contact: Text

    def heading(self, kind: KindName, part: str, language: LanguageName) -> str:
        """The heading of a part."""
        headings = self.education_headings if kind == "education" else self.headings
        return headings[part].of(language)


class Catalogue:
    """All notices by code, checked."""

    def __init__(self, notices: Iterable[Notice], frame: Frame, facts: Law) -> None:
        self.notices: dict[str, Notice] = {}
        self.frame = frame
        self.law = facts
        for notice in notices:
            if notice.code in self.notices:
                raise MalformedError(f"{notice.code}: the code stands twice")
            self.notices[notice.code] = notice
            self._check(notice)
        wanted = {*PARTS, "law"}
        if not (wanted <= frame.headings.keys() and wanted <= frame.education_headings.keys()):
            raise MalformedError("frame.json: a heading is missing")
        for text in (frame.on_request, frame.why, frame.contact):
            placeholders("frame.json", text)

    def get(self, code: str) -> Notice:
        """The notice of a code. Raises MalformedError where there is none."""
        found = self.notices.get(code)
        if found is None:
            raise MalformedError(f"there is no notice {code[:80]!r}")
        return found

    def reason(self, code: str) -> Notice:
        """The notice of an indicator code or a pattern; the neutral one's for what has none. Raises
        MalformedError where that lacks too."""
        # A code's own comes first: a pattern may bear the same name.
        for notice in (f"reason-{code}", f"pattern-{code}", NEUTRAL_CODE):
            if notice in self.notices:
                return self.notices[notice]
        raise MalformedError("the catalogue has no neutral notice")

    def wants(self, notice: Notice) -> frozenset[str]:
        """Placeholders that want a value when the notice is rendered."""
        texts = [*notice.texts]
        if notice.kind in ("action", "step"):
            texts.append(self.frame.contact)
        if notice.asks_for_reasons:
            texts.append(self.frame.on_request)
        return frozenset(name for text in texts for name in PLACEHOLDER.findall(text.en))

    @cached_property
    def unreviewed(self) -> list[Notice]:
        """Notices whose version nobody has reviewed, by code."""
        return [notice for _, notice in sorted(self.notices.items()) if notice.reviewed_by is None]

    def lacking(self, rulebook: Rulebook) -> list[str]:
        """Codes of the notices that an action, code or pattern of a rulebook should have and hasn't."""
        wanted = [
            *(f"advice-{name}" for name in (*ACTIONS, "lift")),
            *(f"reason-{code.code}" for code in rulebook.codes),
            *(f"pattern-{name}" for name in get_args(PatternName)),
        ]
        return sorted(code for code in wanted if code not in self.notices)

    def _check(self, notice: Notice) -> None:
        code = notice.code
        if not code.startswith(PREFIXES[notice.kind]):
            raise MalformedError(f"{code}: codes of its kind begin with {PREFIXES[notice.kind]}")
        if (notice.reasons is None) == (notice.kind in ("action", "step")):
            raise MalformedError(f"{code}: actions and steps say whether reasons are shown, others don't")
        for text in notice.texts:
            found = placeholders(code, text)
            if notice.kind in ("reason", "pattern") and found:
                # It may stand inside another notice.
                raise MalformedError(f"{code}: reasons and patterns take no values")
        for fact in notice.law:
            if self.law.fact(fact) is None:
                raise MalformedError(f"{code}: law.json has no fact {fact}")


def placeholders(where: str, text: Text) -> set[str]:
    """The placeholders of a text. Raises MalformedError naming `where` for one that isn't known, that stands
    in one language alone, or for other braces."""
    by_language = []
    for language in LANGUAGES:
        words = text.of(language)
        found = set(PLACEHOLDER.findall(words))
        if unknown := found - PLACEHOLDERS:
            raise MalformedError(f"{where}: unknown placeholder {min(unknown)}")
        if set("{}") & set(PLACEHOLDER.sub("", words)):
            raise MalformedError(f"{where}: a brace that belongs to no placeholder")
        by_language.append(found)
    if by_language[0] != by_language[1]:
        raise MalformedError(f"{where}: placeholders differ between the languages")
    return by_language[0]


def parse_notices(name: str, text: str) -> list[Notice]:
    """The notices of a data file. Raises MalformedError naming file, notice and field."""
    kind = FILES[name]
    try:
        rows: Any = json.loads(text)
    except ValueError:
        raise MalformedError(f"{name}: no JSON") from None
    if not isinstance(rows, list):
        raise MalformedError(f"{name}: no list")
    found = []
    for row in rows:
        code = row.get("code", "?") if isinstance(row, dict) else "?"
        try:
            filled = {"kind": kind, "reasons": None, **row} if isinstance(row, dict) else row
            found.append(Notice.model_validate_json(json.dumps(filled)))
        except ValidationError as error:
            raise MalformedError(f"{name}: {code}: {first_problem(error)}") from None
    return found


def parse_frame(text: str) -> Frame:
    """What stands around notices. Raises MalformedError."""
    try:
        return Frame.model_validate_json(text)
    except ValidationError as error:
        raise MalformedError(f"frame.json: {first_problem(error)}") from None


@cache
def packaged_catalogue() -> Catalogue:
    """The packaged catalogue."""
    folder = files("signalexchange.notices")
    notices = [
        notice for name in FILES for notice in parse_notices(name, folder.joinpath(name).read_text("utf-8"))
    ]
    return Catalogue(notices, parse_frame(folder.joinpath("frame.json").read_text("utf-8")), packaged_law())
