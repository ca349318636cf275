"""The catalogue of customer notices, served: texts with placeholders, and what the law says.

Invariants: what is served is the packaged catalogue; values for placeholders never come here; every answer
carries the line that it is information, not legal advice.
"""

from functools import lru_cache
from typing import Final

from signalexchange.notices.catalogue import PARTS, KindName, Reasons, packaged_catalogue
from signalexchange.notices.catalogue import Notice as Entry
from signalexchange.notices.law import CounterName, LanguageName, LevelName, Threshold
from signalexchange.notices.rendering import legal_lines
from signalexchange.v1.case_service_pb2 import LANGUAGE_EN, LANGUAGE_ZH_CN, Language
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.notice_service_pb2 import (
    LEGAL_COUNTER_GAIN,
    LEGAL_COUNTER_LOSS,
    LEGAL_COUNTER_OVERDUE,
    LEGAL_COUNTER_VOLUME,
    LEGAL_LEVEL_ESPECIALLY_SERIOUS,
    LEGAL_LEVEL_SERIOUS,
    NOTICE_KIND_ACTION,
    NOTICE_KIND_EDUCATION,
    NOTICE_KIND_PATTERN,
    NOTICE_KIND_REASON,
    NOTICE_KIND_STEP,
    NOTICE_KIND_UNSPECIFIED,
    NOTICE_REASONS_ON_REQUEST,
    NOTICE_REASONS_SHOWN,
    NOTICE_REASONS_UNSPECIFIED,
    GetNoticeRequest,
    GetNoticeResponse,
    LegalCounter,
    LegalFact,
    LegalLevel,
    LegalThreshold,
    ListLegalFactsRequest,
    ListLegalFactsResponse,
    ListNoticesRequest,
    ListNoticesResponse,
    Notice,
    NoticeKind,
    NoticePart,
    NoticeReasons,
)

from exchange.domain.refusal import Refusal, invalid

LANGUAGES: Final[dict[Language.ValueType, LanguageName]] = {LANGUAGE_ZH_CN: "zh-CN", LANGUAGE_EN: "en"}
KINDS: Final[dict[KindName, NoticeKind.ValueType]] = {
    "action": NOTICE_KIND_ACTION,
    "step": NOTICE_KIND_STEP,
    "reason": NOTICE_KIND_REASON,
    "pattern": NOTICE_KIND_PATTERN,
    "education": NOTICE_KIND_EDUCATION,
}
REASONS: Final[dict[Reasons, NoticeReasons.ValueType]] = {
    "shown": NOTICE_REASONS_SHOWN,
    "on-request": NOTICE_REASONS_ON_REQUEST,
}
COUNTERS: Final[dict[CounterName, LegalCounter.ValueType]] = {
    "volume": LEGAL_COUNTER_VOLUME,
    "overdue": LEGAL_COUNTER_OVERDUE,
    "loss": LEGAL_COUNTER_LOSS,
    "gain": LEGAL_COUNTER_GAIN,
}
LEVELS: Final[dict[LevelName, LegalLevel.ValueType]] = {
    "serious": LEGAL_LEVEL_SERIOUS,
    "especially-serious": LEGAL_LEVEL_ESPECIALLY_SERIOUS,
}


def list_notices(request: ListNoticesRequest) -> ListNoticesResponse:
    """All notices, or those of a kind. Raises Refusal INVALID_REQUEST."""
    language = _language(request.language)
    if request.kind not in NoticeKind.values():
        raise invalid("kind", "must be a kind, or unspecified for all")
    everything = (message(code, language) for code in sorted(packaged_catalogue().notices))
    return ListNoticesResponse(
        notices=[notice for notice in everything if request.kind in (NOTICE_KIND_UNSPECIFIED, notice.kind)],
        disclaimer=_disclaimer(language),
    )


def get_notice(request: GetNoticeRequest) -> GetNoticeResponse:
    """One notice. Raises Refusal INVALID_REQUEST or NOTICE_UNKNOWN."""
    language = _language(request.language)
    if request.code not in packaged_catalogue().notices:
        raise Refusal(ErrorReason.ERROR_REASON_NOTICE_UNKNOWN, "there is no notice of that code")
    return GetNoticeResponse(notice=message(request.code, language), disclaimer=_disclaimer(language))


def list_legal_facts(request: ListLegalFactsRequest) -> ListLegalFactsResponse:
    """What the law says. Raises Refusal INVALID_REQUEST."""
    language = _language(request.language)
    return ListLegalFactsResponse(
        facts=[
            LegalFact(
                id=fact.id,
                title=fact.title.of(language),
                source=fact.source,
                date=fact.date,
                articles=fact.articles.of(language),
                text=fact.text.of(language),
                thresholds=[_threshold(each) for each in fact.thresholds],
            )
            for fact in packaged_catalogue().law.facts
        ],
        disclaimer=_disclaimer(language),
    )


@lru_cache(maxsize=1024)
def message(code: str, language: LanguageName) -> Notice:
    """A notice of the catalogue, placeholders in its texts."""
    notices = packaged_catalogue()
    notice = notices.get(code)
    parts = [
        NoticePart(
            name=name,
            heading=notices.frame.heading(notice.kind, name, language),
            text=_words(notice, name, language),
        )
        for name in (*PARTS[:-1], "law", PARTS[-1])
        if name != "law" or notice.law
    ]
    review = notice.reviewed_by
    return Notice(
        code=code,
        kind=KINDS[notice.kind],
        version=notice.version,
        language=next(number for number, name in LANGUAGES.items() if name == language),
        title=notice.title.of(language),
        parts=parts,
        placeholders=sorted(notices.wants(notice)),
        reasons=REASONS[notice.reasons] if notice.reasons else NOTICE_REASONS_UNSPECIFIED,
        law=notice.law,
        reviewed_by=review.role if review else "",
        reviewed_on=review.date if review else "",
    )


def _words(notice: Entry, name: str, language: LanguageName) -> str:
    for part in PARTS:
        if part == name:
            return notice.part(part).of(language)
    return "\n".join(legal_lines(packaged_catalogue(), notice, language))


def _threshold(each: Threshold) -> LegalThreshold:
    return LegalThreshold(counter=COUNTERS[each.counter], level=LEVELS[each.level], yuan=each.yuan)


def _language(language: Language.ValueType) -> LanguageName:
    if language not in LANGUAGES:
        raise invalid("language", "must be a language")
    return LANGUAGES[language]


def _disclaimer(language: LanguageName) -> str:
    return packaged_catalogue().law.disclaimer.of(language)
