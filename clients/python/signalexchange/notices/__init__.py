"""Customer notices, in Chinese (zh-CN) and English: which goes with an action.

Invariants: notice codes are stable and never reused for another meaning; a notice tells the customer what
happens, what may be done about it and what the law says, never who reported or what exactly; a code without
a notice of its own gets the neutral one, so that the absence of a text tells nothing.
"""

from functools import cache
from typing import Final

from signalexchange.notices.catalogue import NEUTRAL_CODE, Notice, packaged_catalogue
from signalexchange.rulebook import ACTIONS
from signalexchange.v1.signal_service_pb2 import Action

_ADVICE_CODES: Final = {action: f"advice-{name}" for name, action in ACTIONS.items()}


def advice_code(action: Action.ValueType) -> str:
    """Code of the notice that goes with an advised action; the neutral one's for an unknown action."""
    return _ADVICE_CODES.get(action, NEUTRAL_CODE)


@cache
def advice_notice(action: Action.ValueType) -> Notice:
    """The notice that goes with an advised action; the neutral one for an unknown action."""
    return packaged_catalogue().get(advice_code(action))
