"""The detector's settings: one TOML file, all of it optional, checked whole at the start.

Invariants: what is not in the file has the default that stands here; what changes which transactions are
released, or what is counted of them, is in `shape`, so that a state made otherwise is noticed.
"""

from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from signalexchange.detector.features import DAY, HOUR, Parameters
from signalexchange.detector.shared import SUBJECTS
from signalexchange.detector.transactions import COLUMNS, Columns
from signalexchange.detector.trial import Settings as LearnerSettings
from signalexchange.identifiers import TYPE_NAMES
from signalexchange.settings import File, Section, Text, read_settings
from signalexchange.v1.signal_pb2 import EvidenceGrade

TYPES: Final = {name: number for number, name in TYPE_NAMES.items()}
Subject = Literal["customer", "merchant", "payee", "device", "card"]
Permille = Annotated[int, Field(strict=True, ge=1, le=1000)]


class WindowSettings(Section):
    """What counts as large (see `features.Parameters`; `large_minimum` in CNY), and the members' clock."""

    large_factor: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 3
    large_minimum: Annotated[int, Field(strict=True, ge=1, le=10**12)] = 1_000
    utc_offset_hours: Annotated[float, Field(gt=-24, lt=24)] = 8

    def parameters(self) -> Parameters:
        """The same for the windows."""
        return Parameters(self.large_factor, self.large_minimum * 100, int(self.utc_offset_hours * HOUR))


class LearningSettings(Section):
    """How the model learns; see `trial.Settings`, whose defaults these are."""

    delay_days: Annotated[int, Field(strict=True, ge=0, le=90)] = 7
    held_out_days: Annotated[int, Field(strict=True, ge=1, le=90)] = 7
    period_days: Annotated[int, Field(strict=True, ge=1, le=365)] = 56
    every_hours: Annotated[int, Field(strict=True, ge=1, le=90 * 24)] = 24
    margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    frauds: Annotated[int, Field(strict=True, ge=1, le=10**6)] = 20
    capacity: Annotated[int, Field(strict=True, ge=1_000, le=10**8)] = 500_000

    def learner(self) -> LearnerSettings:
        """The same for the learner."""
        return LearnerSettings(
            delay=self.delay_days * DAY,
            held_out=self.held_out_days * DAY,
            period=self.period_days * DAY,
            every=self.every_hours * HOUR,
            margin=self.margin,
            frauds=self.frauds,
            capacity=self.capacity,
        )


class Thresholds(Section):
    """From which probability of fraud on (permille, the model's) a transaction is to be authenticated or
    held."""

    authenticate: Permille = 300
    hold: Permille = 800

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.authenticate > self.hold:
            raise ValueError("authenticate is above hold")
        return self


class Exchange(Section):
    """What the exchange is asked, and how long a transaction waits for it.

    `subjects`: field of a transaction (customer, merchant, payee, device, card) → identifier type. `ask`:
    those of them that are asked about; the others may be named in [[publish]]. Left out: all.
    `budget_ms`: what a batch of transactions waits at most. `fresh_minutes`: how long an answer is used.
    """

    subjects: Annotated[dict[Subject, str], Field(min_length=1)]
    ask: list[Subject] | None = None
    purpose: Text = "transaction-screening"
    budget_ms: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 50
    fresh_minutes: Annotated[int, Field(strict=True, ge=1, le=7 * 24 * 60)] = 60

    @field_validator("subjects")
    @classmethod
    def _known(cls, subjects: dict[str, str]) -> dict[str, str]:
        for name in subjects.values():
            if name not in TYPES:
                raise ValueError(f"an identifier type is one of {', '.join(sorted(TYPES))}")
        return subjects

    @model_validator(mode="after")
    def _asked_have_types(self) -> Self:
        if missing := [name for name in self.ask or () if name not in self.subjects]:
            raise ValueError(f"ask: subjects gives {', '.join(missing)} no type")
        return self

    @property
    def types(self) -> dict[str, int]:
        """Identifier type by field, in the order of SUBJECTS."""
        return {name: TYPES[self.subjects[name]] for name in SUBJECTS if name in self.subjects}

    @property
    def asked(self) -> dict[str, int]:
        """The same of those that are asked about."""
        return {name: type_ for name, type_ in self.types.items() if self.ask is None or name in self.ask}


class Publish(Section):
    """A [[publish]] of the file: what is said of a transaction, and when.

    `when`: "fraud" (a label says so) or "rule:NAME" (the rule applies). `subject` and `counterparty`: fields
    of the transaction, of those that [exchange.subjects] gives a type. `grade`: suspected, corroborated or
    confirmed; the rulebook has the least a code needs.
    """

    when: Annotated[str, Field(strict=True, pattern=r"^(fraud|rule:[a-z][a-z0-9-]{1,63})$")]
    code: Text
    subject: Subject
    counterparty: Subject | None = None
    grade: Literal["suspected", "corroborated", "confirmed"]
    confidence: Annotated[int, Field(strict=True, ge=0, le=100)]
    valid_days: Annotated[int, Field(strict=True, ge=1, le=365)]

    @property
    def rule(self) -> str | None:
        """The rule's name; None for "fraud"."""
        return self.when.partition(":")[2] or None

    @property
    def grade_value(self) -> int:
        """The contract's number of the grade."""
        return EvidenceGrade.Value(f"EVIDENCE_GRADE_{self.grade.upper()}")


class DetectorSettings(Section):
    """Everything the file says.

    `rules`: a rule file in place of the packaged one. `key`: file of the journal's key (64 hexadecimal
    digits), in place of one beside the journal. `columns`, `currency`, `zone` (an IANA name, for times
    without an offset): how tables hold transactions. `lateness`, `grace`, `ahead` and `gap`, seconds: see
    `order.Order`. `on_rejected`: whether a row that can't be taken is counted and passed over, or stops the
    run. `keep_days`: how long a decision is kept, and so how late its label may come. `flows`: whether
    movements of money that pass the gate (signalexchange.gate) are published for matching.
    """

    rules: File | None = None
    key: File | None = None
    columns: dict[str, Text] = Field(default_factory=dict)
    currency: Text = "CNY"
    zone: Text | None = None
    lateness: Annotated[int, Field(strict=True, ge=0, le=DAY)] = 0
    grace: Annotated[int, Field(strict=True, ge=0, le=DAY)] = 60
    ahead: Annotated[int, Field(strict=True, ge=0, le=365 * DAY)] = 300
    gap: Annotated[int, Field(strict=True, ge=0, le=365 * DAY)] = 3 * DAY
    on_rejected: Literal["count", "stop"] = "count"
    keep_days: Annotated[int, Field(strict=True, ge=1, le=365)] = 90
    windows: WindowSettings = WindowSettings()
    learning: LearningSettings = LearningSettings()
    thresholds: Thresholds = Thresholds()
    exchange: Exchange | None = None
    publish: list[Publish] = Field(default_factory=list)
    flows: bool = False

    @model_validator(mode="after")
    def _published_have_types(self) -> Self:
        typed = self.exchange.types if self.exchange is not None else {}
        for number, each in enumerate(self.publish, 1):
            for name in (each.subject, each.counterparty):
                if name is not None and name not in typed:
                    raise ValueError(f"publish {number}: [exchange.subjects] gives {name} no type")
        if self.flows and "customer" not in typed:
            raise ValueError("flows: [exchange.subjects] gives customer no type")
        return self

    @field_validator("columns")
    @classmethod
    def _columns_known(cls, columns: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(columns.keys() - COLUMNS):
            raise ValueError(f"{', '.join(unknown)}: known are {', '.join(sorted(COLUMNS))}")
        return columns

    @field_validator("zone")
    @classmethod
    def _zone_known(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                ZoneInfo(zone)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError("not a time zone this machine knows; such as Asia/Shanghai or UTC") from None
        return zone

    def table(self) -> Columns:
        """How tables hold transactions."""
        zone: tzinfo | None = ZoneInfo(self.zone) if self.zone is not None else None
        return Columns(self.columns, self.currency, zone)

    def shape(self) -> dict[str, Any]:
        """What a stored state depends on, as plain data."""
        return {
            "windows": self.windows.model_dump(),
            "order": [self.lateness, self.grace, self.ahead, self.gap],
        }


def load_detector_settings(path: Path) -> DetectorSettings:
    """Read and check a detector's TOML file; raises ConfigError with the file and each bad key."""
    return read_settings(path, DetectorSettings)
