"""What is stored of cases, as values: the rows between use cases and storage.

Invariants: where a proceeding stands is folded from its steps; its row repeats of that only what lists, terms
and publishing look for. Times are Unix seconds, 0 for none.
"""

from typing import NamedTuple


class ProceedingRow(NamedTuple):
    """A member's proceeding in a case.

    `match_id` is empty where it is about none; `token` is empty once it was erased. `unfinished` says that it
    is open or a measure stands, `appealed` that an appeal is undecided; `sanction` is the Action in force
    that it was closed with as confirmed, else 0; `due` is the earliest deadline of which nobody was told, and
    `expires_at` when its content goes.
    """

    case_id: bytes
    member: str
    match_id: bytes
    token: bytes
    type: int
    epoch: int
    unfinished: bool
    appealed: bool
    sanction: int
    due: int
    expires_at: int

    @property
    def is_erased(self) -> bool:
        """Whether its content is gone."""
        return not self.token


class StoredProceeding(NamedTuple):
    """A proceeding with its number, which grows with time."""

    number: int
    row: ProceedingRow


class CaseStepRow(NamedTuple):
    """A step: SHA-256 of its statement, the officer who signed it, and its entry."""

    case_id: bytes
    member: str
    sequence: int
    digest: bytes
    officer: str
    entry: int


class StoredStep(NamedTuple):
    """A step with its entry's time and payload, a CaseEntry."""

    sequence: int
    digest: bytes
    officer: str
    entry: int
    time: int
    payload: bytes


class DeadlineRow(NamedTuple):
    """A deadline of a proceeding of which the log says that it passed: "explanation" or "appeal"."""

    case_id: bytes
    member: str
    due: int
    what: str


class AppealRow(NamedTuple):
    """The undecided appeal in a proceeding disputes the signal at a place until then."""

    case_id: bytes
    member: str
    place: int
    until: int


class AppealTime(NamedTuple):
    """Appeals of one group dispute what is said of one subject until then at most, and not `again` before;
    `digest` stands for both."""

    digest: bytes
    until: int
    again: int


class CaseEvent(NamedTuple):
    """News of a case for one member's watch."""

    member: str
    case_id: bytes
    time: int


class StoredCaseEvent(NamedTuple):
    """A case event with its position in the one strictly growing order."""

    position: int
    event: CaseEvent
