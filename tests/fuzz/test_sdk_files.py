"""Files and documents that somebody else wrote, or that a disk damaged: an error of ours, or a good reading.

Codecs have their own property tests beside their unit tests; here are whole files, and what breaks JSON and
SQLite.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalexchange import envelope, roster
from signalexchange.config import load_config
from signalexchange.credentials import TlsFiles, load_signing_key
from signalexchange.documents import Document
from signalexchange.errors import ExchangeError
from signalexchange.evidence import HeldReceipt
from signalexchange.journal import Journal, Kind
from signalexchange.manifest import KeyManifest
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.sealed_store import create_key

from exchange.custodian.config import load_config as load_custodian_config
from exchange.provision import Deployment, Plan, provision
from exchange.server.config import load_config as load_hub_config

fuzzed = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

DOCUMENTS: list[type[Document]] = [
    roster.Roster,
    Rulebook,
    KeyManifest,
    HeldReceipt,
    envelope.SignalDisclosure,
]
HOSTILE = {
    "nothing": "",
    "null": "null\n",
    "a number": "1\n",
    "a list": "[]\n",
    "an empty object": "{}\n",
    "deep lists": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "a number of 5,000 digits": '{"version": ' + "9" * 5000 + "}\n",
    "a number beyond a float": '{"version": 1e999}\n',
    "not a number": '{"version": NaN}\n',
    "a lone surrogate, escaped": '{"origin": "\\ud800"}\n',
    "a lone surrogate": '{"origin": "\ud800"}\n',
    "a NUL": '{"origin": "\0"}\n',
    "the same key twice": '{"version": 1, "version": 1}\n',
    "a byte order mark": "\ufeff{}\n",
    "a float for a whole number": '{"version": 1.0}\n',
    "true for a number": '{"version": true}\n',
}


def complaint(call: Callable[[], object]) -> str | None:
    """What an error of ours says, or None where the call works. Any other error is a failure of the test."""
    try:
        call()
    except ExchangeError as error:
        return str(error)
    return None


def ours(call: Callable[[], object]) -> None:
    """The call works, or fails with an error of ours whose text is short enough to show."""
    problem = complaint(call)
    assert problem is None or 0 < len(problem) < 2000


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_json_is_malformed(kind: type[Document], hostile: str) -> None:
    with pytest.raises(ExchangeError):
        kind.parse(HOSTILE[hostile])


def _mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0 if at < len(changed):
                changed[at] = chance.randrange(256)
            case 1:
                del changed[at : at + chance.randrange(1, 30)]
            case 2:
                changed[at:at] = changed[at : at + 60]
            case _:
                changed[at:at] = chance.choice(
                    (b"\0", b"}", b'"', b"-1", b"1e9", b"\xff", b"null", b"\n", b"[[")
                )
    return bytes(changed)


@given(seed=st.integers(0, 2**32))
@fuzzed
def test_a_damaged_rulebook_never_passes_for_another(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeats
    text = _mutated(default_text().encode(), chance).decode("utf-8", errors="replace")
    try:
        read = Rulebook.parse(text)
    except ExchangeError:
        return
    assert read.text() == text


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9), st.lists, max_leaves=5
    )
)
@fuzzed
def test_any_value_in_any_field_of_a_rulebook(value: object) -> None:
    document = json.loads(default_text())
    for holder, name in (
        (document, "limits"),
        (document["limits"], "streams"),
        (document["codes"][0], "code"),
    ):
        kept = holder[name]
        holder[name] = value
        ours(
            lambda: Rulebook.parse(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        )
        holder[name] = kept


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return provision(tmp_path_factory.mktemp("files") / "deployment", Plan(types=("card",)))


@pytest.mark.parametrize("which", ["member", "hub", "custodian"])
@given(seed=st.integers(0, 2**32))
@fuzzed
def test_a_damaged_configuration_is_named(deployment: Deployment, which: str, seed: int) -> None:
    path, load = {
        "member": (deployment.party_config("bank-north"), load_config),
        "hub": (deployment.hub_config, load_hub_config),
        "custodian": (deployment.custodian_config("custodian-a"), load_custodian_config),
    }[which]
    chance = random.Random(seed)  # noqa: S311 - repeats
    damaged = path.with_suffix(".damaged")
    damaged.write_bytes(_mutated(path.read_bytes(), chance))
    read: Callable[[Path], object] = load
    problem = complaint(lambda: read(damaged))
    assert problem is None or str(damaged) in problem


@given(seed=st.integers(0, 2**32))
@fuzzed
def test_damaged_keys_and_certificates_are_named(deployment: Deployment, seed: int) -> None:
    home = deployment.folder / "parties" / "bank-north"
    chance = random.Random(seed)  # noqa: S311 - repeats
    damaged = home / "damaged.pem"
    for name in ("tls.pem", "tls.key", "ca.pem", "signing.key"):
        damaged.write_bytes(_mutated((home / name).read_bytes(), chance))
        damaged.chmod(0o600)
        if name == "signing.key":
            ours(lambda: load_signing_key(damaged))
            continue
        paths = {
            "tls.pem": home / "tls.pem",
            "tls.key": home / "tls.key",
            "ca.pem": home / "ca.pem",
            name: damaged,
        }
        files = TlsFiles(*paths.values())
        ours(files.load)
        ours(files.expires_at)


@given(seed=st.integers(0, 2**32))
@settings(fuzzed, max_examples=40)
def test_a_damaged_journal_is_told_and_never_misread(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    key = folder / "key"
    create_key(key)
    entries = {bytes([number] * 16): bytes([number]) * 300 for number in range(20)}
    with Journal(folder / "journal.db", key) as journal:
        for name, request in entries.items():
            journal.prepare(Kind.BATCH, name, request)
    chance = random.Random(seed)  # noqa: S311 - repeats
    file = folder / "journal.db"
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 5, 50))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    if chance.randrange(4) == 0:
        del data[chance.randrange(len(data)) :]
    file.write_bytes(bytes(data))

    def read() -> None:
        with Journal(file, key) as journal:
            for name, request in entries.items():
                found = journal.sent(Kind.BATCH, name)
                # Lost is possible (an index entry damaged), another content is not.
                assert found is None or found.request == request
            for sent in journal.history(Kind.BATCH):
                assert sent.request in entries.values()

    ours(read)
