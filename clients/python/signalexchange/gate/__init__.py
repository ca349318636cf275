"""The member's local gate: which movements of money are worth publishing, and as what.

Only tokens of what passes leave the member; ordinary customers' activity stays where it is.
"""

from signalexchange.gate.gate import FlowOrderError, Gate
from signalexchange.gate.parameters import GateParameters

__all__ = ["FlowOrderError", "Gate", "GateParameters"]
