"""TokenService: the manifest, and partial evaluations against a budget.

Invariants: a request is checked whole, then admitted, then charged, then evaluated, in this order, so that a
refusal costs the caller nothing; the key of a request is never substituted by another; logs hold counts,
never points.
"""

from typing import Any, Final

from signalexchange.identifiers import TYPE_NAMES
from signalexchange.manifest import TokenKey
from signalexchange.v1 import token_service_pb2 as pb
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.token_service_pb2_grpc import TokenServiceServicer
from signalexchange.voprf import MAX_BATCH

from exchange.custodian.budgets import Budgets, allowances
from exchange.custodian.evaluator import Evaluator
from exchange.custodian.material import Keys, Material, Watched
from exchange.domain.refusal import MAX_VIOLATIONS, Refusal, invalid
from exchange.server.calls import current
from exchange.server.clock import Clock

_PURPOSES: Final = {
    pb.EVALUATION_PURPOSE_TOKENISE: "tokenise",
    pb.EVALUATION_PURPOSE_ROTATE: "rotate",
}


class TokenServicer(TokenServiceServicer):
    """Serves one custodian's share; callers have passed the interceptor."""

    def __init__(self, watched: Watched, budgets: Budgets, evaluator: Evaluator, clock: Clock) -> None:
        self._watched = watched
        self._budgets = budgets
        self._evaluator = evaluator
        self._clock = clock

    async def GetKeyManifest(  # noqa: N802 - the contract's name
        self, request: pb.GetKeyManifestRequest, context: Any
    ) -> pb.GetKeyManifestResponse:
        """Answer with the manifest as it was co-signed."""
        return pb.GetKeyManifestResponse(manifest=_keys(self._watched.material).note)

    async def Evaluate(  # noqa: N802 - the contract's name
        self, request: pb.EvaluateRequest, context: Any
    ) -> pb.EvaluateResponse:
        """Check, admit, charge, evaluate."""
        call = current()
        elements = list(request.blinded_elements)
        _check_form(request, len(elements))
        call.facts |= {
            "type": TYPE_NAMES[request.type],
            "epoch": request.epoch,
            "points": len(elements),
            "purpose": _PURPOSES[request.purpose],
        }
        # Material may be read anew at any await: this call goes on with what it began with.
        material = self._watched.material
        keys, roster, index = _keys(material), material.chain.current, material.index
        now = self._clock.now()
        key = _key_in_force(keys, request, now)
        group = roster.group(call.party.group)
        charged = allowances(
            group.budgets.get(key.type) if group else None,
            request.purpose,
            now,
            threshold=roster.threshold,
            custodians=len(roster.custodians),
        )
        with self._evaluator.admit(len(elements)):
            violations = await self._evaluator.violations(elements)
            if violations:
                raise Refusal(
                    ErrorReason.ERROR_REASON_INVALID_REQUEST,
                    "blinded elements that are no points",
                    violations=violations[:MAX_VIOLATIONS],
                    total=len(violations),
                )
            await self._budgets.charge(call.party.group, key.type_value, key.epoch, len(elements), charged)
            share = keys.shares[key.type_value, key.epoch]
            evaluated, proof = await self._evaluator.evaluate(share, key.shares[index], elements)
        return pb.EvaluateResponse(share_index=index, evaluated_elements=evaluated, proof=proof)


def _keys(material: Material) -> Keys:
    if material.keys is None:
        raise Refusal(ErrorReason.ERROR_REASON_UNAVAILABLE, "no key manifest of the roster in force is there")
    return material.keys


def _check_form(request: pb.EvaluateRequest, count: int) -> None:
    if request.type not in TYPE_NAMES:
        raise invalid("type", "unknown identifier type")
    if request.purpose not in _PURPOSES:
        raise invalid("purpose", "unknown purpose")
    if not 1 <= count <= MAX_BATCH:
        raise invalid("blinded_elements", "a batch has 1 to 1,000 elements")


def _key_in_force(keys: Keys, request: pb.EvaluateRequest, now: int) -> TokenKey:
    key = keys.manifest.key(request.type, request.epoch)
    if key is None or not key.valid_at(now):
        raise Refusal(
            ErrorReason.ERROR_REASON_EPOCH_NOT_VALID, "no key of this type and epoch is valid at present"
        )
    if request.generation != key.generation:
        raise Refusal(
            ErrorReason.ERROR_REASON_GENERATION_UNKNOWN,
            "the key has another generation",
            metadata={"generation": str(key.generation)},
        )
    if request.purpose == pb.EVALUATION_PURPOSE_ROTATE:
        epochs = keys.manifest.epochs(request.type, now)
        if len(epochs) < 2 or request.epoch != epochs[-1]:
            raise Refusal(
                ErrorReason.ERROR_REASON_NO_ROTATION,
                "rotation is for the newer of two valid epochs; two are not valid, or this is the older",
            )
    return key
