"""The rulebook: who may publish, see and ask what, for which purpose, with which weights and limits. Data,
not code.

Invariants: the rulebook is a canonical JSON document whose SHA-256 stands in the roster; what it doesn't
list is not allowed; a code that weighs nothing is for matching alone; per purpose and kind of member, advice
never falls as the band or the grade of the evidence rises; every bucket holds a full batch. Weights are
fixed-point integers (milli-nats), so that every score can be recomputed exactly.
"""

from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from signalexchange.documents import Document, Record, Sha256Hex
from signalexchange.patterns import Matching
from signalexchange.roster import TypeName, identifier_type, kind_value
from signalexchange.v1.signal_pb2 import EvidenceGrade
from signalexchange.v1.signal_service_pb2 import Action

MAX_BATCH = 1000

MemberKind = Literal["bank", "ecommerce", "payment_provider"]
GradeName = Literal["suspected", "corroborated", "confirmed"]
ActionName = Literal["allow", "authenticate", "explain", "intercept", "restrict", "freeze"]
MeasureName = Literal["none", "restrict", "freeze"]
Escalation = Literal["unsatisfactory", "overdue"]
RoleName = Literal["none", "payment", "transfer", "refund", "cycle", "line", "link", "shared"]
PatternName = Literal[
    "funds-loop",
    "refund-loop",
    "payer-ring",
    "merchant-hopping",
    "repay-and-respend",
    "bust-out",
    "collecting-account",
]
Name = Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9-]{1,63}$")]
Days = Annotated[int, Field(strict=True, ge=1, le=3650)]
MilliNats = Annotated[int, Field(strict=True, ge=0, le=20_000)]
Permille = Annotated[int, Field(strict=True, ge=1, le=1000)]
Text = Annotated[str, Field(strict=True, min_length=1, max_length=500)]
Quota = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]

GRADES: dict[str, int] = {
    "suspected": EvidenceGrade.EVIDENCE_GRADE_SUSPECTED,
    "corroborated": EvidenceGrade.EVIDENCE_GRADE_CORROBORATED,
    "confirmed": EvidenceGrade.EVIDENCE_GRADE_CONFIRMED,
}
"""Grade names → EvidenceGrade."""
ACTIONS: dict[str, Action.ValueType] = {
    "allow": Action.ACTION_ALLOW,
    "authenticate": Action.ACTION_AUTHENTICATE,
    "explain": Action.ACTION_EXPLAIN,
    "intercept": Action.ACTION_INTERCEPT,
    "restrict": Action.ACTION_RESTRICT,
    "freeze": Action.ACTION_FREEZE,
}
"""Action names → Action, ascending in severity."""


class Weights(Record):
    """Log-odds a fresh signal of full confidence adds, by evidence grade, in milli-nats."""

    suspected: MilliNats
    corroborated: MilliNats
    confirmed: MilliNats

    def of(self, grade: int) -> int:
        """Weight of an EvidenceGrade; 0 for an unspecified one."""
        return (0, self.suspected, self.corroborated, self.confirmed)[grade] if 0 <= grade <= 3 else 0


class Code(Record):
    """An indicator code: what may be said, by whom, about what, and how it counts."""

    code: Name
    description: Text
    publishers: tuple[MemberKind, ...] = Field(min_length=1)
    subject_types: tuple[TypeName, ...] = Field(min_length=1)
    minimum_grade: GradeName
    role: RoleName
    """What its signals are to matching."""
    measure: MeasureName
    """The measure it tells of: only who closed a case of its own as confirmed with it in force may say so."""
    needs_links: bool
    needs_counterparty: bool
    retention_days: Days
    half_life_days: Days
    weights: Weights

    @cached_property
    def publisher_kinds(self) -> frozenset[str]:
        """Kinds of members that may publish the code."""
        return frozenset(self.publishers)

    @cached_property
    def subject_type_values(self) -> frozenset[int]:
        """IdentifierTypes a subject may have."""
        return frozenset(identifier_type(name) for name in self.subject_types)

    @property
    def is_searched(self) -> bool:
        """Whether look-ups find its signals: what weighs nothing is there for matching alone."""
        return self.weights.confirmed > 0

    @property
    def minimum_grade_value(self) -> int:
        """Least EvidenceGrade."""
        return GRADES[self.minimum_grade]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.weights.suspected <= self.weights.corroborated <= self.weights.confirmed:
            raise ValueError("weights fall as the grade rises")
        if self.needs_links != (self.role == "link"):
            raise ValueError("a code needs links if its role is link, and only then")
        if self.needs_counterparty != (self.role in ("payment", "transfer")):
            raise ValueError("a code needs a counterparty if its role is payment or transfer, and only then")
        if self.measure != "none" and (self.minimum_grade != "confirmed" or self.role != "none"):
            raise ValueError("a code that tells of a measure is of confirmed evidence, and none for matching")
        if self.weights.confirmed == 0 and self.role == "none":
            raise ValueError("a code weighs something or has a role in matching")
        return self


class AdviceTable(Record):
    """What is advised in each band."""

    low: ActionName
    elevated: ActionName
    high: ActionName
    severe: ActionName

    @model_validator(mode="after")
    def _check(self) -> Self:
        actions = [ACTIONS[name] for name in (self.low, self.elevated, self.high, self.severe)]
        if actions != sorted(actions):
            raise ValueError("advice falls as the band rises")
        return self

    @cached_property
    def by_band(self) -> tuple[Action.ValueType, ...]:
        """Action by RiskBand (index 0, unspecified, advises as low)."""
        return tuple(ACTIONS[name] for name in (self.low, self.low, self.elevated, self.high, self.severe))


class AdviceGrades(Record):
    """Least grade of the evidence on which an action is advised; what comes before it needs none."""

    explain: GradeName
    intercept: GradeName
    restrict: GradeName
    freeze: GradeName

    @model_validator(mode="after")
    def _check(self) -> Self:
        grades = [GRADES[name] for name in (self.explain, self.intercept, self.restrict, self.freeze)]
        if grades != sorted(grades):
            raise ValueError("an action needs a lower grade than a milder one")
        return self

    @cached_property
    def highest(self) -> tuple[Action.ValueType, ...]:
        """The highest action by EvidenceGrade (index 0: no evidence)."""
        needed = {ACTIONS[name]: GRADES[getattr(self, name)] for name in type(self).model_fields}
        mild = ACTIONS["authenticate"]
        return tuple(max([mild, *(a for a, least in needed.items() if least <= at)]) for at in range(4))


class Purpose(Record):
    """A purpose of look-ups and subscriptions: who may name it, which codes it shows, and what is advised."""

    purpose: Name
    description: Text
    kinds: tuple[MemberKind, ...] = Field(min_length=1)
    codes: tuple[Name, ...] = Field(min_length=1)
    patterns: tuple[PatternName, ...]
    """Matches that count in its look-ups, and of which its subscribers are told."""
    advice: AdviceTable
    advice_by_kind: dict[MemberKind, AdviceTable]
    """For kinds of members that can't do, or should do, something else than the rest."""

    def advice_for(self, kind: str) -> AdviceTable:
        """What is advised to a kind of member."""
        return self.advice_by_kind.get(kind, self.advice)  # type: ignore[call-overload,no-any-return]

    @cached_property
    def code_set(self) -> frozenset[str]:
        """The codes shown."""
        return frozenset(self.codes)


class Bands(Record):
    """Least score, in permille, of each band above low."""

    elevated: Permille
    high: Permille
    severe: Permille

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.elevated < self.high < self.severe:
            raise ValueError("bands are not ascending")
        return self


class Model(Record):
    """Parameters of the scoring model: log-odds of a subject nobody accuses, and the most one group can
    add."""

    version: Literal["additive-2"]
    prior: Annotated[int, Field(strict=True, ge=-20_000, le=0)]
    group_cap: Annotated[int, Field(strict=True, ge=1, le=20_000)]
    match: MilliNats
    """What a match of full confidence adds to its subjects' log-odds."""
    bands: Bands


class Rate(Record):
    """A token bucket: so many a second, so many at once."""

    per_second: Quota
    burst: Quota


class Limits(Record):
    """What one member may use. Look-ups count tokens, signals count signals, calls everything else.

    `signals_per_subject` and `links_per_subject` bound what one token brings up: a member's active signals on
    it, and its links to and from it.
    """

    look_ups: Rate
    signals: Rate
    calls: Rate
    signals_per_subject: Annotated[int, Field(strict=True, ge=1, le=1000)]
    links_per_subject: Annotated[int, Field(strict=True, ge=1, le=1000)]
    subscriptions: Quota
    streams: Annotated[int, Field(strict=True, ge=1, le=1000)]
    refusals_per_minute: Annotated[int, Field(strict=True, ge=1, le=1000)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if min(self.look_ups.burst, self.signals.burst) < MAX_BATCH:
            raise ValueError(f"a burst of look_ups or signals is below a batch of {MAX_BATCH}")
        return self


class Terms(Record):
    """How long things last, in days: events for resuming watches, subscriptions, what access records say."""

    events_days: Days
    subscription_days: Days
    access_days: Days


class Measure(Record):
    """What a measure needs: how many officers, and restrict and freeze which failure of an explanation."""

    officers: Literal[1, 2]
    escalates_on: tuple[Escalation, ...]


class Measures(Record):
    """The measures, by action."""

    intercept: Measure
    restrict: Measure
    freeze: Measure

    def of(self, action: int) -> Measure:
        """What an Action from INTERCEPT up needs."""
        return (self.intercept, self.restrict, self.freeze)[action - Action.ACTION_INTERCEPT]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.freeze.officers != 2:
            raise ValueError("freeze needs two officers")
        if self.intercept.escalates_on:
            raise ValueError("intercept needs no explanation that failed")
        if not self.restrict.escalates_on or not self.freeze.escalates_on:
            raise ValueError("restrict and freeze need an explanation that failed")
        return self


class Cases(Record):
    """Due process: least and most days that a customer gets to explain, days in which an appeal is to be
    decided, days that a closed proceeding is kept, and what each measure needs."""

    explanation_days: Days
    explanation_days_most: Days
    appeal_days: Days
    retention_days: Days
    measures: Measures

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.explanation_days > self.explanation_days_most:
            raise ValueError("explanation_days are more than explanation_days_most")
        return self


class Rulebook(Document):
    """A version of the rulebook."""

    version: Annotated[int, Field(strict=True, ge=1, le=2**31)]
    codes: tuple[Code, ...] = Field(min_length=1, max_length=1000)
    purposes: tuple[Purpose, ...] = Field(min_length=1, max_length=100)
    model: Model
    matching: Matching
    match_advice: AdviceTable
    """What is advised about a match by the band of its confidence."""
    match_advice_by_kind: dict[MemberKind, AdviceTable]
    """The same for kinds of members that need another."""
    advice_grades: AdviceGrades
    """What evidence each action needs, in look-ups and matches."""
    limits: Limits
    terms: Terms
    cases: Cases

    def code(self, code: str) -> Code | None:
        """The rule of an indicator code."""
        return self._codes.get(code)

    def purpose(self, purpose: str) -> Purpose | None:
        """The rule of a purpose."""
        return self._purposes.get(purpose)

    def allows_purpose(self, purpose: str, kind: str) -> bool:
        """Whether a member of this kind may name the purpose."""
        rule = self._purposes.get(purpose)
        return rule is not None and kind in rule.kinds

    def match_advice_for(self, kind: str) -> AdviceTable:
        """What is advised about a match to a kind of member."""
        return self.match_advice_by_kind.get(kind, self.match_advice)  # type: ignore[call-overload,no-any-return]

    def digest(self) -> Sha256Hex:
        """SHA-256 of the document, as the roster names it."""
        return sha256(self.text().encode()).hexdigest()

    @cached_property
    def _codes(self) -> dict[str, Code]:
        return {code.code: code for code in self.codes}

    @cached_property
    def _purposes(self) -> dict[str, Purpose]:
        return {purpose.purpose: purpose for purpose in self.purposes}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self._codes) != len(self.codes):
            raise ValueError("a code stands twice")
        if len(self._purposes) != len(self.purposes):
            raise ValueError("a purpose stands twice")
        for purpose in self.purposes:
            if not self._codes.keys() >= purpose.code_set:
                raise ValueError(f"purpose {purpose.purpose} shows a code that is not listed")
            if not all(self._codes[code].is_searched for code in purpose.codes):
                raise ValueError(f"purpose {purpose.purpose} shows a code that weighs nothing")
        return self


def audience_mask(kinds: tuple[int, ...]) -> int:
    """Bit set of PartyKinds; 0, for all members, when there are none."""
    mask = 0
    for kind in kinds:
        mask |= 1 << kind
    return mask


def audience_allows(mask: int, kind: str) -> bool:
    """Whether an audience includes a kind of party, such as "bank"."""
    return mask == 0 or bool(mask >> kind_value(kind) & 1)


def default_text() -> str:
    """The packaged rulebook's text; `Rulebook.parse` reads it."""
    return files("signalexchange").joinpath("rulebook.json").read_text("utf-8")
