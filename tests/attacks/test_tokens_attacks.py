"""Attacks on tokens: too few shares, too many questions, custodians that lie, dealers that cheat.

Each test plays a party of the threat model and fails at what that party must never do.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange import ristretto, threshold, voprf
from signalexchange.errors import ConfigError, CustodianError, ExchangeError, VerificationError
from signalexchange.identifiers import normalise
from signalexchange.manifest import KeyManifest, open_manifest
from signalexchange.note import Signer
from signalexchange.roster import Budget
from signalexchange.rpc_errors import refusal_from
from signalexchange.threshold import Partial
from signalexchange.tokens import Token, derive, frame
from signalexchange.v1 import token_service_pb2 as pb

from exchange.custodian import ceremony
from exchange.custodian.budgets import Allowance, Budgets, allowances, per_custodian
from exchange.custodian.shares import ShareFile, matching, read_shares
from exchange.domain.refusal import Refusal
from exchange.provision import FOUNDERS, Deployment, PartySpec
from tests.support.ceremonies import CUSTODIANS
from tests.support.custodians import (
    DAY,
    NAMES,
    NOW,
    PHONE,
    Holding,
    Lie,
    deploy,
    evaluate,
    honest,
    manifest_of,
    network,
    phones,
)
from tests.support.rosters import Rosters, signer

VICTIM = "+8613800138000"


def dealt_shares(deployment: Deployment) -> dict[int, bytes]:
    """Every custodian's share of the phone key, as only all custodians together have them."""
    manifest = manifest_of(deployment)
    shares = {}
    for name in NAMES:
        file = read_shares(deployment.custodian_config(name).parent / "shares.json")
        shares[file.index] = matching([file], manifest)[PHONE, 1]
    return shares


def token_under(partials: Sequence[Partial], t: int, message: bytes, blind: bytes) -> Token:
    (point,) = threshold.combine(partials, t, [ristretto.scalar_invert(blind)])
    return derive(voprf.finalize(message, point), PHONE, 1)


# --- a curious hub, or a custodian, with fewer than t shares


async def test_fewer_than_t_shares_compute_no_token(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    message = frame(PHONE, normalise(PHONE, VICTIM))
    blind, element = voprf.blind(message)
    shares = dealt_shares(deployment)
    partials = {i: Partial(i, 1, [ristretto.multiply(share, element)]) for i, share in shares.items()}
    async with network(deployment, NAMES[:2]) as net:
        (token,) = await net.client().tokens(PHONE, 1, [VICTIM])
    for pair in combinations(partials.values(), 2):
        assert token_under(pair, 2, message, blind) == token
    for index, partial in partials.items():
        with pytest.raises(VerificationError):
            threshold.combine([partial], 2)
        # The share alone, used as if it were the key, or completed with a guess.
        alone = ristretto.multiply(ristretto.scalar_invert(blind), partial.elements[0])
        assert derive(voprf.finalize(message, alone), PHONE, 1) != token
        for other in set(partials) - {index}:
            guess = Partial(other, 1, [ristretto.multiply(ristretto.random_scalar(), element)])
            assert token_under([partial, guess], 2, message, blind) != token
    # Public values do not help: neither manifest nor commitments hold anything but points.
    key = manifest_of(deployment).key(PHONE, 1)
    assert key is not None
    assert not set(shares.values()) & {key.public_key, *key.commitments, *key.shares.values()}


@given(st.integers(3, 5), st.data())
@settings(max_examples=10, deadline=None)
def test_t_minus_one_shares_fit_every_key_equally_well(t: int, data: st.DataObject) -> None:
    """For t − 1 shares and any other key there is a polynomial through both: the shares tell nothing."""
    indices = list(range(1, t + 2))
    dealing = threshold.deal(t, indices)
    held = data.draw(st.permutations(indices))[: t - 1]
    element = voprf.blind(b"input")[1]
    partials = [Partial(i, 1, [ristretto.multiply(dealing.shares[i], element)]) for i in held]
    joint = [Partial(i, 1, [ristretto.multiply(dealing.shares[i], element)]) for i in indices[:t]]
    assert threshold.combine(partials, t - 1) != threshold.combine(joint, t)
    wanted = ristretto.random_scalar()
    missing = next(i for i in indices if i not in held)
    # Solve for the share at `missing` that would make the key `wanted`: it always exists.
    coefficients = threshold.lagrange_at_zero([*held, missing])
    known = ristretto.scalar_from_int(0)
    for i in held:
        known = ristretto.scalar_add(known, ristretto.scalar_multiply(coefficients[i], dealing.shares[i]))
    rest = ristretto.scalar_subtract(wanted, known)
    share = ristretto.scalar_multiply(rest, ristretto.scalar_invert(coefficients[missing]))
    completed = [*partials, Partial(missing, 1, [ristretto.multiply(share, element)])]
    assert threshold.combine(completed, t) == [ristretto.multiply(wanted, element)]


async def test_custodians_see_nothing_that_repeats(tmp_path: Path) -> None:
    """The same number asked twice is two different points to every custodian, and in its logs nothing."""
    deployment = deploy(tmp_path)
    seen: list[bytes] = []

    def listen(holding: Holding, elements: list[bytes]) -> pb.EvaluateResponse:
        seen.extend(elements)
        return honest(holding, elements)

    async with network(deployment, NAMES[1:]) as net:
        await net.start_liar(NAMES[0], listen)
        tokens = [await net.client(names=NAMES[:2]).tokens(PHONE, 1, [VICTIM]) for _ in range(2)]
        assert tokens[0] == tokens[1]
        assert len(seen) == len(set(seen)) == 2
        logged = b"".join(log.getvalue() for log in net.logs.values())
        for secret in (VICTIM, VICTIM[1:], tokens[0][0].value.hex(), *(point.hex() for point in seen)):
            assert secret.encode() not in logged


# --- a member that enumerates


async def buy(channel: grpc.aio.Channel, elements: Sequence[bytes]) -> list[bytes] | None:
    try:
        return list((await evaluate(channel, elements)).evaluated_elements)
    except grpc.aio.AioRpcError as error:
        if refusal_from(error).reason != "BUDGET_EXHAUSTED":
            raise
        return None


async def test_enumerating_stops_at_the_budget_whatever_custodians_are_asked(tmp_path: Path) -> None:
    """A group with a budget of 20 gets at most 20 tokens, taking turns among the custodians."""
    async with network(deploy(tmp_path, per_day=20)) as net:
        clients = [net.client("bank-north", names) for names in (NAMES[:2], NAMES[1:], (NAMES[2], NAMES[0]))]
        bought, reasons = 0, set[str]()
        for number in range(60):
            try:
                await clients[number % 3].tokens(PHONE, 1, [phones(1, number)[0]])
                bought += 1
            except CustodianError as error:
                reasons |= {why.partition(":")[0] for why in error.failures.values()}
        assert 0 < bought <= 20
        assert reasons == {"BUDGET_EXHAUSTED"}
        # Half of what each pair allows was left by no order of asking.
        for names in combinations(NAMES, 2):
            with pytest.raises(CustodianError):
                await net.client("bank-north", names).tokens(PHONE, 1, phones(11, 100))


async def test_running_a_custodian_buys_no_more_than_the_budget(tmp_path: Path) -> None:
    """With one share of its own, the attacker needs one partial evaluation a token from the two others."""
    deployment = deploy(tmp_path, per_day=20)
    own = dealt_shares(deployment)[1]
    messages = [frame(PHONE, normalise(PHONE, raw)) for raw in phones(60)]
    tokens = set()
    async with network(deployment, NAMES[1:]) as net:
        channels = [(index, net.channel(name)) for index, name in enumerate(NAMES[1:], 2)]
        for number, message in enumerate(messages):
            blind, element = voprf.blind(message)
            for index, channel in channels[number % 2 :] + channels[: number % 2]:
                answer = await buy(channel, [element])
                if answer is not None:
                    partials = [Partial(1, 1, [ristretto.multiply(own, element)]), Partial(index, 1, answer)]
                    tokens.add(token_under(partials, 2, message, blind).value)
                    break
    assert len(tokens) == 20


@given(st.integers(2, 6), st.integers(0, 3), st.integers(0, 1_000))
def test_no_way_of_asking_buys_more_than_the_intended_total(t: int, spare: int, total: int) -> None:
    """n·q partial evaluations make at most n·q ÷ t tokens; with a share of one's own, (n − 1)·q ÷ (t − 1)."""
    n = t + spare
    q = per_custodian(total, t, n)
    for own in (0, 1):
        assert (n - own) * q <= total * (t - own)


async def test_two_members_of_a_group_share_one_budget(tmp_path: Path) -> None:
    parties = (*FOUNDERS, PartySpec("bank-north-cards", "bank", "north-holding"))
    async with network(deploy(tmp_path, per_day=20, parties=parties), NAMES[:1]) as net:
        point = voprf.blind(b"x")[1]
        assert await buy(net.channel(NAMES[0], "bank-north"), [point] * 6)
        assert await buy(net.channel(NAMES[0], "bank-north-cards"), [point] * 5) is None
        assert await buy(net.channel(NAMES[0], "bank-north-cards"), [point] * 4)
        assert await buy(net.channel(NAMES[0], "bank-south"), [point] * 10)


async def test_a_type_or_group_without_a_budget_gets_nothing(tmp_path: Path) -> None:
    budgets = {"card": Budget(per_day=100, declared_customers=100)}
    async with network(deploy(tmp_path, budgets=budgets), NAMES[:1]) as net:
        assert await buy(net.channel(NAMES[0]), [voprf.blind(b"x")[1]]) is None


@given(
    st.lists(st.one_of(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.just("restart")), max_size=8)
)
@settings(max_examples=20, deadline=None)
def test_the_ledger_never_overshoots_through_races_and_restarts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[int] | str]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "budgets.db"
    allowed = [Allowance("epoch", "epoch", 25), Allowance("day 1", "day", 20)]

    async def run() -> None:
        ledger, used = await Budgets.open(path), 0
        for step in steps:
            if isinstance(step, str):
                await ledger.close()
                ledger = await Budgets.open(path)
                continue
            outcomes = await asyncio.gather(
                *(ledger.charge("group", 1, 1, amount, allowed) for amount in step), return_exceptions=True
            )
            for amount, outcome in zip(step, outcomes, strict=True):
                if outcome is None:
                    used += amount
                else:
                    assert isinstance(outcome, Refusal)
                    assert amount > 20 - used or outcome.metadata["remaining"] != str(20 - used)
            assert used <= 20
        if used < 20:  # refusals took nothing: all the rest can still be had
            await ledger.charge("group", 1, 1, 20 - used, allowed)
        with pytest.raises(Refusal):
            await ledger.charge("group", 1, 1, 1, allowed)
        await ledger.close()

    asyncio.run(run())


async def test_a_cancelled_charge_leaves_the_ledger_whole(tmp_path: Path) -> None:
    ledger = await Budgets.open(tmp_path / "budgets.db")
    allowed = [Allowance("epoch", "epoch", 1_000)]
    tasks = [asyncio.create_task(ledger.charge("group", 1, 1, 1, allowed)) for _ in range(30)]
    await asyncio.sleep(0.005)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    kept = sum(outcome is None for outcome in outcomes)
    # Whoever was answered was charged; who went away may have been.
    with pytest.raises(Refusal) as caught:
        await ledger.charge("group", 1, 1, 1_000, allowed)
    assert 1_000 - 30 <= int(caught.value.metadata["remaining"]) <= 1_000 - kept
    await ledger.close()


def test_another_day_or_purpose_does_not_reopen_the_epoch() -> None:
    budget = Budget(per_day=10, declared_customers=10)
    for now in (NOW, NOW + DAY):
        epoch, day = allowances(budget, pb.EVALUATION_PURPOSE_TOKENISE, now, threshold=2, custodians=3)
        assert (epoch.bucket, epoch.allowed, day.bucket, day.allowed) == ("epoch", 6, f"day {now // DAY}", 5)
    (rotation,) = allowances(budget, pb.EVALUATION_PURPOSE_ROTATE, NOW, threshold=2, custodians=3)
    assert (rotation.bucket, rotation.allowed) == ("rotation", 6)


# --- custodians that lie


def altered(**changes: Callable[[Holding, list[bytes], pb.EvaluateResponse], Any]) -> Lie:
    def lie(holding: Holding, elements: list[bytes]) -> pb.EvaluateResponse:
        response = honest(holding, elements)
        for name, make in changes.items():
            value = make(holding, elements, response)
            if name == "evaluated_elements":
                del response.evaluated_elements[:]
                response.evaluated_elements.extend(value)
            else:
                setattr(response, name, value)
        return response

    return lie


def under_another_share(holding: Holding, elements: list[bytes]) -> pb.EvaluateResponse:
    """Right proofs of a share that the manifest does not list: another generation, or a made-up key."""
    share = ristretto.random_scalar()
    return replace_index(
        honest(Holding(holding.index, share, ristretto.multiply_base(share)), elements), holding.index
    )


def proof_for_own_key_over_listed_share(holding: Holding, elements: list[bytes]) -> pb.EvaluateResponse:
    share = ristretto.random_scalar()
    return honest(Holding(holding.index, share, holding.public_share), elements)


def replace_index(response: pb.EvaluateResponse, index: int) -> pb.EvaluateResponse:
    response.share_index = index
    return response


def cancelling(holding: Holding, elements: list[bytes]) -> pb.EvaluateResponse:
    """Errors that cancel out in a plain sum: +E on one element, −E on another, under one honest proof."""
    response = honest(holding, elements)
    error = voprf.blind(b"error")[1]
    negative = ristretto.multiply(ristretto.scalar_from_int(-1), error)
    values = list(response.evaluated_elements)
    values[0], values[1] = ristretto.add(values[0], error), ristretto.add(values[1], negative)
    del response.evaluated_elements[:]
    response.evaluated_elements.extend(values)
    return response


LIES: dict[str, tuple[Lie, str]] = {
    "one wrong element": (
        altered(evaluated_elements=lambda h, e, r: [*r.evaluated_elements[:-1], voprf.blind(b"x")[1]]),
        "proof",
    ),
    "swapped order": (altered(evaluated_elements=lambda h, e, r: r.evaluated_elements[::-1]), "proof"),
    "errors that cancel out": (cancelling, "proof"),
    "the blinded points themselves": (altered(evaluated_elements=lambda h, e, r: e), "proof"),
    "a random proof": (
        altered(proof=lambda h, e, r: ristretto.random_scalar() + ristretto.random_scalar()),
        "proof",
    ),
    "no proof": (altered(proof=lambda h, e, r: b""), "64 bytes"),
    "a zero proof": (altered(proof=lambda h, e, r: bytes(64)), "scalar"),
    "a proof not reduced": (altered(proof=lambda h, e, r: r.proof[:32] + b"\xff" * 32), "scalar"),
    "another share": (under_another_share, "proof"),
    "a listed share it does not hold": (proof_for_own_key_over_listed_share, "proof"),
    "the neighbour's index": (altered(share_index=lambda h, e, r: h.index % 3 + 1), "share index"),
    "index zero": (altered(share_index=lambda h, e, r: 0), "share index"),
    "an element short": (altered(evaluated_elements=lambda h, e, r: r.evaluated_elements[:-1]), "number"),
    "an element more": (
        altered(evaluated_elements=lambda h, e, r: [*r.evaluated_elements, voprf.blind(b"x")[1]]),
        "number",
    ),
    "the identity": (
        altered(evaluated_elements=lambda h, e, r: [ristretto.IDENTITY] * len(e)),
        "identity",
    ),
    "no points": (altered(evaluated_elements=lambda h, e, r: [b"\xff" * 32] * len(e)), "canonical"),
    "short points": (altered(evaluated_elements=lambda h, e, r: [b"\x02"] * len(e)), "32 bytes"),
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return deploy(tmp_path_factory.mktemp("liars"))


@pytest.mark.parametrize("name", LIES)
async def test_a_lying_custodian_is_named_and_the_next_one_asked(deployment: Deployment, name: str) -> None:
    lie, why = LIES[name]
    async with network(deployment, NAMES[1:]) as net:
        await net.start_liar(NAMES[0], lie)
        client = net.client(names=NAMES)  # the liar is asked first
        tokens = await client.tokens(PHONE, 1, phones(3))
        assert client.failures.keys() == {NAMES[0]}
        assert why in client.failures[NAMES[0]]
        assert tokens == await net.client(names=NAMES[1:]).tokens(PHONE, 1, phones(3))
        with pytest.raises(CustodianError) as caught:
            await net.client(names=NAMES[:2]).tokens(PHONE, 1, phones(3))
        assert caught.value.failures.keys() == {NAMES[0]}


async def test_a_custodian_answering_for_a_generation_it_had_before_is_named(tmp_path: Path) -> None:
    """After a resharing, an old share, honest in its time, fits no public share of the manifest."""
    deployment = deploy(tmp_path)
    secret_shares = dealt_shares(deployment)
    # The old generation: same joint key, another polynomial.
    coefficients = threshold.lagrange_at_zero([1, 2])
    joint = ristretto.scalar_add(
        *(ristretto.scalar_multiply(coefficients[i], secret_shares[i]) for i in (1, 2))
    )
    old = threshold.deal(2, [1, 2, 3], joint)

    def stale(holding: Holding, elements: list[bytes]) -> pb.EvaluateResponse:
        return honest(Holding(holding.index, old.shares[1], old.public_shares[1]), elements)

    async with network(deployment, NAMES[1:]) as net:
        await net.start_liar(NAMES[0], stale)
        client = net.client(names=NAMES)
        await client.tokens(PHONE, 1, phones(2))
        assert "proof" in client.failures[NAMES[0]]


async def test_bytes_that_are_no_answer_are_an_error_of_ours(deployment: Deployment) -> None:
    class Junk(grpc.GenericRpcHandler):
        def service(self, _details: grpc.HandlerCallDetails) -> Any:
            async def answer(_request: bytes, _context: Any) -> bytes:
                return b"\xff\xff\xff"

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Junk(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with (
        network(deployment, NAMES[1:]) as net,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        client = net.client(names=NAMES[1:])
        client._peers.insert(0, replace(client._peers[0], id=NAMES[0], index=1, channel=channel))
        client._turn = len(client._peers) - 1
        assert len(await client.tokens(PHONE, 1, phones(1, 900))) == 1
        assert "not a protocol buffer" in client.failures[NAMES[0]]
    await server.stop(None)


# --- dealers and manifests


class Table:
    """A ceremony in a folder, with the test roster's custodians."""

    def __init__(self, folder: Path) -> None:
        self.roster = Rosters().current
        spec = ceremony.KeySpec("phone", 1, NOW, NOW + DAY)
        self.dealt = ceremony.deal(self.roster, [spec], folder / "dealt")

    def sign(self, name: str, manifest: Path | None = None, by: Signer | None = None) -> None:
        ceremony.cosign(
            self.roster, [self.dealt.shares[name]], manifest or self.dealt.manifest, by or signer(name)
        )


def test_a_ceremony_ends_in_a_manifest_that_opens(tmp_path: Path) -> None:
    table = Table(tmp_path)
    for name in CUSTODIANS:
        with pytest.raises(ExchangeError):
            open_manifest(table.dealt.manifest.read_bytes(), table.roster)
        table.sign(name)
    manifest = open_manifest(table.dealt.manifest.read_bytes(), table.roster)
    files = [read_shares(path) for path in table.dealt.shares.values()]
    for file in files:
        assert matching([file], manifest).keys() == {(PHONE, 1)}
    for path in table.dealt.shares.values():
        assert path.stat().st_mode & 0o777 == 0o600
    # Nothing that was written holds the joint key.
    coefficients = threshold.lagrange_at_zero([1, 2])
    joint = ristretto.scalar_add(
        *(ristretto.scalar_multiply(coefficients[f.index], f.shares[0].share) for f in files[:2])
    )
    key = manifest.key(PHONE, 1)
    assert key is not None
    assert ristretto.multiply_base(joint) == key.public_key
    assert not any(joint.hex() in path.read_text() for path in (tmp_path / "dealt").iterdir())


def test_a_second_ceremony_continues_the_first(tmp_path: Path) -> None:
    table = Table(tmp_path)
    for name in CUSTODIANS:
        table.sign(name)
    first = open_manifest(table.dealt.manifest.read_bytes(), table.roster)
    assert ceremony.read_manifest(table.dealt.manifest, table.roster) == first
    spec = ceremony.KeySpec("phone", 2, NOW + 100, NOW + 2 * DAY)
    again = ceremony.deal(table.roster, [spec], tmp_path / "again", first)
    with pytest.raises(VerificationError, match="phone, epoch 1, generation 1: no share"):
        ceremony.cosign(table.roster, [again.shares["custodian-1"]], again.manifest, signer("custodian-1"))
    for name in CUSTODIANS:
        ceremony.cosign(
            table.roster, [table.dealt.shares[name], again.shares[name]], again.manifest, signer(name)
        )
    second = open_manifest(again.manifest.read_bytes(), table.roster)
    assert second.version == 2
    assert second.epochs(PHONE, NOW + 100) == [1, 2]


def test_a_dealer_can_not_hand_out_a_share_that_does_not_fit(tmp_path: Path) -> None:
    table = Table(tmp_path)
    path = table.dealt.shares["custodian-1"]
    file = read_shares(path)
    wrong = file.shares[0].model_copy(update={"share": ristretto.random_scalar()})
    path.unlink()
    ShareFile(**{**dict(file), "shares": (wrong,)}).write(path)
    with pytest.raises(VerificationError, match="does not match"):
        table.sign("custodian-1")
    assert b"\n\n" not in table.dealt.manifest.read_bytes()


def test_a_dealer_can_not_list_a_public_share_off_the_polynomial(tmp_path: Path) -> None:
    table = Table(tmp_path)
    manifest = KeyManifest.parse(table.dealt.manifest.read_text())
    key = manifest.keys[0]
    shares = {**key.public_shares, "3": ristretto.multiply_base(ristretto.random_scalar())}
    forged = manifest.model_copy(update={"keys": (key.model_copy(update={"public_shares": shares}),)})
    table.dealt.manifest.write_text(forged.text())
    with pytest.raises(VerificationError, match="index 3"):
        table.sign("custodian-1")  # though its own share fits


def test_nobody_signs_for_another(tmp_path: Path) -> None:
    table = Table(tmp_path)
    with pytest.raises(VerificationError, match="not that of a custodian"):
        table.sign("custodian-1", by=signer("operator"))
    with pytest.raises(VerificationError, match="not custodian custodian-2's"):
        table.sign("custodian-1", by=signer("custodian-2"))


def test_a_ceremony_overwrites_nothing(tmp_path: Path) -> None:
    table = Table(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "dealt").iterdir()}
    with pytest.raises(ConfigError, match="exists"):
        ceremony.deal(table.roster, [ceremony.KeySpec("card", 1, NOW, NOW + DAY)], tmp_path / "dealt")
    assert {path: path.read_bytes() for path in (tmp_path / "dealt").iterdir()} == before


@pytest.mark.parametrize(
    "spec",
    [
        ceremony.KeySpec("phone", 1, NOW, NOW),
        ceremony.KeySpec("shoe size", 1, NOW, NOW + 1),
        ceremony.KeySpec("phone", -1, NOW, NOW + 1),
        ceremony.KeySpec("phone", 1, NOW, NOW + 1, generation=0),
    ],
)
def test_keys_that_no_manifest_can_hold_are_not_dealt(tmp_path: Path, spec: ceremony.KeySpec) -> None:
    with pytest.raises(ExchangeError):
        ceremony.deal(Rosters().current, [spec], tmp_path / "dealt")
    assert not (tmp_path / "dealt").exists()


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_malformed_share_files_are_named(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("shares") / "shares.json"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"shares\.json"):
        read_shares(path)
