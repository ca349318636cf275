"""What notices say of the law: facts with source and date, and amounts from which a case counts as serious.

Invariants: information, never advice; each fact is told in own words in both languages; the amounts are data,
since matching reads them from here.
"""

from functools import cache
from importlib.resources import files
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from signalexchange.documents import Record
from signalexchange.errors import MalformedError

CounterName = Literal["volume", "overdue", "loss", "gain"]
LevelName = Literal["serious", "especially-serious"]
LanguageName = Literal["zh-CN", "en"]
LANGUAGES: Final[tuple[LanguageName, ...]] = ("zh-CN", "en")

Words = Annotated[str, Field(strict=True, min_length=1, max_length=4_000, pattern=r"\S")]
IsoDate = Annotated[str, Field(strict=True, pattern=r"^\d{4}-\d{2}-\d{2}$")]
Name = Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9-]{1,79}$")]


class Text(Record):
    """One text in both languages."""

    zh_cn: Words = Field(alias="zh-CN")
    en: Words

    def of(self, language: LanguageName) -> str:
        """The text in a language."""
        return self.zh_cn if language == "zh-CN" else self.en


class Threshold(Record):
    """An amount in CNY from which the law counts a case as serious."""

    counter: CounterName
    level: LevelName
    yuan: Annotated[int, Field(strict=True, ge=1, le=2**53)]


class Fact(Record):
    """One fact of the law: `source` is the document's number or place, `date` since when it is in force as
    described."""

    id: Name
    title: Text
    source: Words
    date: IsoDate
    articles: Text
    text: Text
    thresholds: tuple[Threshold, ...]


class Law(Record):
    """All facts, and the line that stands with each."""

    disclaimer: Text
    facts: tuple[Fact, ...]

    def fact(self, fact_id: str) -> Fact | None:
        """The fact of an id."""
        return next((fact for fact in self.facts if fact.id == fact_id), None)


def parse_law(text: str) -> Law:
    """Read the facts; raises MalformedError naming what is wrong."""
    try:
        law = Law.model_validate_json(text)
    except ValidationError as error:
        raise MalformedError(f"law.json: {first_problem(error)}") from None
    ids = [fact.id for fact in law.facts]
    if ids != sorted(set(ids)):
        raise MalformedError("law.json: ids are not ascending, or one stands twice")
    return law


def first_problem(error: ValidationError) -> str:
    """The first problem by its place."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


@cache
def packaged_law() -> Law:
    """The packaged facts."""
    return parse_law(files("signalexchange.notices").joinpath("law.json").read_text("utf-8"))
