"""Which signals count in the answer about a token, by who asks for what.

Invariants: the caller's own group is left out; a signal counts only within its audience, and that of the link
it is found through, and where the purpose shows its code; each signal counts once.
"""

from collections.abc import Iterable

from signalexchange.roster import Party
from signalexchange.rulebook import Purpose

from exchange.domain.membership import Membership
from exchange.domain.records import Hit
from exchange.domain.scoring import Evidence


def visible(
    hits: Iterable[Hit],
    membership: Membership,
    party: Party,
    purpose: Purpose,
    asked: tuple[int, int],
    now: int,
) -> list[Evidence]:
    """Evidence of the signals that bear on a token, for a party that asked for that (type, epoch)."""
    kind = party.kind_value
    # By place: two links may lead to one signal, which counts once, under the milder marking.
    found: dict[int, Evidence] = {}
    for hit in hits:
        group = membership.counted_group(hit.issuer)
        if group is None or group == party.group or (hit.type, hit.epoch) != asked:
            continue
        if (
            hit.code in purpose.code_set
            and (hit.audience == 0 or hit.audience >> kind & 1)
            and (hit.link_audience == 0 or hit.link_audience >> kind & 1)
        ):
            tlp = max(hit.tlp, hit.link_tlp)
            known = found.get(hit.place)
            if known is None or tlp < known.tlp:
                found[hit.place] = Evidence(
                    group,
                    hit.code,
                    hit.confidence,
                    hit.grade,
                    tlp,
                    hit.last_seen,
                    bool(hit.echo),
                    hit.disputed_until > now,
                )
    return list(found.values())
