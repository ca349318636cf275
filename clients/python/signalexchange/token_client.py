"""From raw identifiers to tokens: normalise, blind, ask t custodians, verify, combine, derive.

Invariants: only blinded points leave the process; a partial evaluation is used only after its batched proof
held against the public share that the manifest gives for the custodian's own index; a custodian that fails is
named and the next one asked; without t valid answers there is no token. Group operations run in threads, so
that the loop stays free.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from signalexchange import voprf
from signalexchange.errors import (
    ConfigError,
    CustodianError,
    ExchangeError,
    InvalidIdentifierError,
    MalformedError,
    RefusedError,
    VerificationError,
)
from signalexchange.identifiers import normalise, type_name
from signalexchange.manifest import KeyManifest, TokenKey, open_manifest
from signalexchange.ristretto import check_point, scalar_invert
from signalexchange.roster import Roster
from signalexchange.rpc_errors import refusal_from
from signalexchange.threshold import Partial, combine
from signalexchange.token_cache import TokenCache
from signalexchange.tokens import Token, derive, frame
from signalexchange.v1 import token_service_pb2 as pb
from signalexchange.v1.identifier_pb2 import IdentifierType

Progress = Callable[[int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 250  # points a thread works on before others get their turn
_BATCHES_AT_ONCE = 2  # one is at the custodians while another is blinded or combined
_REPEATS = 4
_NOT_CHARGED = ("OVERLOADED", "RATE_LIMITED")
_LONGEST_PAUSE = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Peer:
    id: str
    index: int
    channel: grpc.aio.Channel


class TokenClient:
    """Computes tokens with the roster's custodians.

    `channels` maps custodian ids to open channels over mTLS; t of them are enough. `timeout` (seconds) bounds
    each call. Raises ConfigError for a channel to no custodian of the roster, or for fewer channels than the
    threshold. `failures` says of each custodian that ever failed this client how it failed last.
    """

    def __init__(
        self,
        roster: Roster,
        manifest: KeyManifest,
        channels: Mapping[str, grpc.aio.Channel],
        *,
        cache: TokenCache | None = None,
        timeout: float = 30.0,
    ) -> None:
        indices = {custodian.id: custodian.index for custodian in roster.custodians}
        unknown = channels.keys() - indices.keys()
        if unknown:
            raise ConfigError(f"not a custodian of the roster: {', '.join(sorted(unknown))}")
        if len(channels) < manifest.threshold:
            raise ConfigError(f"tokens need {manifest.threshold} custodians; {len(channels)} are configured")
        self.manifest = manifest
        self.failures: dict[str, str] = {}
        self._cache = cache if cache is not None else TokenCache()
        self._timeout = timeout
        self._peers = [_Peer(name, indices[name], channel) for name, channel in channels.items()]
        # Custodians take turns: each holds a budget of its own, and all of them together buy the most tokens.
        self._turn = random.randrange(len(self._peers))  # noqa: S311 - a turn, not a secret

    async def tokens(
        self,
        type: IdentifierType.ValueType,  # noqa: A002 - the contract's name
        epoch: int,
        raw_values: Sequence[str],
        *,
        purpose: pb.EvaluationPurpose.ValueType = pb.EVALUATION_PURPOSE_TOKENISE,
        on_progress: Progress | None = None,
    ) -> list[Token]:
        """The tokens of raw identifiers of one type, in order.

        Equal ones are evaluated once, cached ones never. `on_progress` is called with how many distinct
        identifiers are done and how many there are. Raises InvalidIdentifierError (its reason ends with the
        index of the value), VerificationError where the manifest has no key of that type and epoch,
        CustodianError when fewer than t custodians gave a valid evaluation; what was computed until then is
        in the cache.
        """
        key = self.manifest.key(type, epoch)
        if key is None:
            raise VerificationError(f"the key manifest has no {type_name(type)} key of epoch {epoch}")
        values = await asyncio.to_thread(_normalise_all, type, raw_values)
        known: dict[str, Token] = {}
        missing: list[str] = []
        for value in dict.fromkeys(values):
            token = self._cache.get(type, epoch, value)
            if token is None:
                missing.append(value)
            else:
                known[value] = token
        total = len(known) + len(missing)
        gate = asyncio.Semaphore(_BATCHES_AT_ONCE)

        async def compute(batch: Sequence[str]) -> None:
            async with gate:
                for value, token in zip(batch, await self._evaluate(key, batch, purpose), strict=True):
                    known[value] = token
                    self._cache.put(value, token)
                if on_progress is not None:
                    on_progress(len(known), total)

        await _all_or_none([compute(batch) for batch in _chunks(missing, voprf.MAX_BATCH)])
        return [known[value] for value in values]

    async def _evaluate(
        self, key: TokenKey, values: Sequence[str], purpose: pb.EvaluationPurpose.ValueType
    ) -> list[Token]:
        messages = [frame(key.type_value, value) for value in values]
        blinded = await _in_threads(_blind, messages)
        partials = await self._ask(key, [element for _, element in blinded], purpose)
        rows = list(
            zip(messages, (inverse for inverse, _ in blinded), *(p.elements for p in partials), strict=True)
        )

        def finish(chunk: Sequence[tuple[bytes, ...]]) -> list[Token]:
            own, inverses, *elements = zip(*chunk, strict=True)
            cut = [
                Partial(partial.index, partial.generation, part)
                for partial, part in zip(partials, elements, strict=True)
            ]
            unblinded = combine(cut, self.manifest.threshold, inverses)
            return [
                derive(voprf.finalize(message, point), key.type_value, key.epoch)
                for message, point in zip(own, unblinded, strict=True)
            ]

        return await _in_threads(finish, rows)

    async def _ask(
        self, key: TokenKey, elements: Sequence[bytes], purpose: pb.EvaluationPurpose.ValueType
    ) -> list[Partial]:
        """t verified partial evaluations; for a custodian that fails, the next in turn is asked."""
        self._turn = (self._turn + 1) % len(self._peers)
        waiting = self._peers[self._turn :] + self._peers[: self._turn]
        needed = self.manifest.threshold
        partials: list[Partial] = []
        failures: dict[str, str] = {}
        while len(partials) < needed:
            lacking = needed - len(partials)
            if len(waiting) < lacking:
                raise CustodianError(
                    f"{len(partials)} of {needed} custodians gave a valid evaluation", failures
                )
            asked, waiting = waiting[:lacking], waiting[lacking:]
            outcomes = await asyncio.gather(
                *(self._ask_one(peer, key, elements, purpose) for peer in asked), return_exceptions=True
            )
            for peer, outcome in zip(asked, outcomes, strict=True):
                if isinstance(outcome, Partial):
                    partials.append(outcome)
                elif isinstance(outcome, ExchangeError):
                    failures[peer.id] = self.failures[peer.id] = str(outcome)
                    _log.warning("custodian %s failed: %s", peer.id, outcome)
                else:
                    raise outcome
        return partials

    async def _ask_one(
        self, peer: _Peer, key: TokenKey, elements: Sequence[bytes], purpose: pb.EvaluationPurpose.ValueType
    ) -> Partial:
        request = pb.EvaluateRequest(
            type=IdentifierType.ValueType(key.type_value),
            epoch=key.epoch,
            generation=key.generation,
            purpose=purpose,
            blinded_elements=elements,
        )
        response = await self._call(peer, request)
        if response.share_index != peer.index:
            raise VerificationError("answered with another share index than its own")
        evaluated = list(response.evaluated_elements)
        if len(evaluated) != len(elements):
            raise VerificationError("answered with another number of elements than it was asked for")
        public_share = key.shares[peer.index]
        seed = voprf.proof_seed(public_share)

        def weigh(chunk: Sequence[tuple[int, bytes, bytes]]) -> list[tuple[bytes, bytes]]:
            numbers, blinded, answered = zip(*chunk, strict=True)
            return [voprf.weigh_chunk(seed, numbers[0], blinded, [check_point(point) for point in answered])]

        rows = list(zip(range(len(elements)), elements, evaluated, strict=True))
        parts = await _in_threads(weigh, rows)
        m, z = (voprf.sum_points(points) for points in zip(*parts, strict=True))
        voprf.verify(public_share, m, z, response.proof)
        return Partial(peer.index, key.generation, evaluated)

    async def _call(self, peer: _Peer, request: pb.EvaluateRequest) -> pb.EvaluateResponse:
        """Call, and come again a few times when the custodian is overloaded: then nothing was charged."""
        repeats = _REPEATS
        while True:
            try:
                return await _unary(
                    peer.channel, "Evaluate", request, pb.EvaluateResponse.FromString, self._timeout
                )
            except RefusedError as refused:
                if refused.reason not in _NOT_CHARGED or repeats == 0:
                    raise
                pause = min(_LONGEST_PAUSE, refused.retry_after or 0.1)
            repeats -= 1
            await asyncio.sleep(pause * random.uniform(1.0, 1.5))  # noqa: S311 - jitter


async def fetch_manifest(
    roster: Roster,
    channels: Mapping[str, grpc.aio.Channel],
    *,
    timeout: float = 10.0,  # noqa: ASYNC109 - gRPC ends the call
) -> KeyManifest:
    """The newest key manifest that any custodian hands out and that verifies against the roster.

    `timeout` is in seconds. Raises CustodianError when no custodian has one.
    """

    async def fetch(channel: grpc.aio.Channel) -> KeyManifest:
        response = await _unary(
            channel,
            "GetKeyManifest",
            pb.GetKeyManifestRequest(),
            pb.GetKeyManifestResponse.FromString,
            timeout,
        )
        return await asyncio.to_thread(open_manifest, response.manifest, roster)

    outcomes = await asyncio.gather(
        *(fetch(channel) for channel in channels.values()), return_exceptions=True
    )
    failures: dict[str, str] = {}
    newest: KeyManifest | None = None
    for name, outcome in zip(channels, outcomes, strict=True):
        if isinstance(outcome, KeyManifest):
            newest = outcome if newest is None or outcome.version > newest.version else newest
        elif isinstance(outcome, ExchangeError):
            failures[name] = str(outcome)
        else:
            raise outcome
    if newest is None:
        raise CustodianError("no custodian has a valid key manifest", failures)
    return newest


async def _unary(
    channel: grpc.aio.Channel,
    method: str,
    request: Message,
    parse: Callable[[bytes], Result],
    seconds: float,
) -> Result:
    """Call a method of TokenService. Raises RefusedError, or MalformedError for bytes that are no answer."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
    call = channel.unary_unary(f"/signalexchange.v1.TokenService/{method}")
    try:
        return parse(await call(request.SerializeToString(), timeout=seconds))
    except grpc.aio.AioRpcError as error:
        raise refusal_from(error) from None
    except DecodeError:
        raise MalformedError("the answer is not a protocol buffer of the contract") from None


def _normalise_all(type_: int, raw_values: Sequence[str]) -> list[str]:
    values = []
    for index, raw in enumerate(raw_values):
        try:
            values.append(normalise(type_, raw))
        except InvalidIdentifierError as error:
            raise InvalidIdentifierError(error.type_name, f"{error.reason} (value {index})") from None
    return values


def _blind(messages: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    blinded = (voprf.blind(message) for message in messages)
    return [(scalar_invert(scalar), element) for scalar, element in blinded]


def _chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


async def _in_threads(work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    parts = await _all_or_none([asyncio.to_thread(work, chunk) for chunk in _chunks(items, _CHUNK)])
    return [result for part in parts for result in part]


async def _all_or_none(work: Sequence[Awaitable[Result]]) -> list[Result]:
    """The results in order; the first failure ends the rest before it is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
