"""What became of matches in one step: what is to be stored, and which are to be told of."""

from dataclasses import dataclass, field

from exchange.domain.records import InstanceRow, MatchRow


@dataclass(slots=True)
class Changes:
    """By the number of a match, or by number and key of an instance, so that later changes replace earlier
    ones."""

    matches: dict[int, MatchRow] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    """Numbers of matches that go, with all their instances."""
    instances: dict[tuple[int, bytes], InstanceRow | None] = field(default_factory=dict)
    """None for those that go."""
    spent: dict[bytes, int] = field(default_factory=dict)
    """Hypotheses that can't be put up again until then (Unix seconds)."""
    told: set[bytes] = field(default_factory=set)
    """Ids of matches that those concerned must be told of: found, or changed in status, groups, members or
    subjects."""

    def __bool__(self) -> bool:
        return bool(self.matches or self.forgotten or self.instances or self.spent or self.told)

    def merge(self, later: "Changes") -> None:
        """Take in what changed after."""
        self.matches |= later.matches
        self.instances |= later.instances
        self.spent |= later.spent
        self.told |= later.told
        self.forgotten |= later.forgotten
        for number in later.forgotten:
            self.matches.pop(number, None)
        for key in [key for key in self.instances if key[0] in later.forgotten]:
            del self.instances[key]
