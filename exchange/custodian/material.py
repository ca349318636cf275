"""What a custodian works with and reads again while it runs: roster chain, key manifest, its own shares.

Invariants: callers and budgets come from the newest roster version that extends, note by note from 0001.note,
the chain in force; keys come from the newest manifest that verifies under that roster and of which every
share is held. A file that can't be used leaves what was in force in force, unless the roster itself has moved
away from it: then the custodian evaluates nothing until a manifest of the new roster is there. Neither chain
nor manifest ever goes back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from signalexchange.credentials import read_file
from signalexchange.errors import ConfigError, ExchangeError, VerificationError
from signalexchange.manifest import KeyManifest, open_manifest
from signalexchange.roster import Party, Roster, RosterChain

from exchange.custodian.config import CustodianConfig
from exchange.custodian.shares import matching, read_shares

Result = TypeVar("Result")


@dataclass(frozen=True)
class Keys:
    """A verified manifest, the note it came in, and the custodian's share of each (IdentifierType, epoch)."""

    note: bytes
    manifest: KeyManifest
    shares: dict[tuple[int, int], bytes]


@dataclass(frozen=True)
class Material:
    """What is in force: roster chain, own share index, keys (None while no manifest fits the roster)."""

    chain: RosterChain
    index: int
    keys: Keys | None


class Watched:
    """Material from files, read again when they change; the interceptor's directory of parties."""

    def __init__(self, config: CustodianConfig) -> None:
        """Read everything. Raises ConfigError that names the key."""
        self._config = config
        self._stamp = self._stamps()
        chain = _named("roster", config.roster, lambda: read_chain(config.roster))
        roster = chain.current
        index = _named("custodian", config.roster, lambda: _index(roster, config.custodian))
        note, manifest = _named("manifest", config.manifest, lambda: self._read_manifest(roster))
        shares = _named("shares", config.shares[0], lambda: self._read_shares(roster, manifest))
        keys = Keys(note, manifest, shares)
        self.material = Material(chain, index, keys)

    @property
    def roster(self) -> Roster:
        """The roster in force."""
        return self.material.chain.current

    def party_by_spiffe(self, spiffe_id: str) -> Party | None:
        """The enrolled party of that identity."""
        return self.roster.party_by_spiffe(spiffe_id)

    def is_suspended(self, member: str) -> bool:
        """Never: a suspension is the hub's; custodians follow the roster, which a quorum changes."""
        return False

    def changed(self) -> bool:
        """Whether a file was added, replaced or altered since it was read."""
        return self._stamps() != self._stamp

    def reload(self) -> list[str]:
        """Read the files again, take what can be used, and say what can't and why."""
        self._stamp = self._stamps()
        problems: list[str] = []
        chain, keys = self.material.chain, self.material.keys
        try:
            fresh = read_chain(self._config.roster)
            if fresh.versions[: len(chain.versions)] != chain.versions:
                raise VerificationError("the notes no longer begin with those in force")
            index = _index(fresh.current, self._config.custodian)
            self.material = replace(self.material, chain=fresh, index=index)
        except ExchangeError as error:
            problems.append(f"{self._config.roster}: {error}")
        try:
            read = self._read_keys(self.roster)
            if keys is not None and read.manifest.version < keys.manifest.version:
                raise VerificationError("the manifest is older than the one in force")
            keys = read
        except ExchangeError as error:
            problems.append(f"{self._config.manifest}: {error}")
            keys = self._kept(keys, problems)
        self.material = replace(self.material, keys=keys)
        return problems

    def _kept(self, keys: Keys | None, problems: list[str]) -> Keys | None:
        if keys is not None:
            try:
                open_manifest(keys.note, self.roster)
            except ExchangeError as error:
                problems.append(f"the manifest in force no longer fits the roster: {error}")
                return None
        return keys

    def _read_keys(self, roster: Roster) -> Keys:
        note, manifest = self._read_manifest(roster)
        return Keys(note, manifest, self._read_shares(roster, manifest))

    def _read_manifest(self, roster: Roster) -> tuple[bytes, KeyManifest]:
        note = read_file(self._config.manifest, "key manifest")
        return note, open_manifest(note, roster)

    def _read_shares(self, roster: Roster, manifest: KeyManifest) -> dict[tuple[int, int], bytes]:
        files = [read_shares(path) for path in self._config.shares]
        index = _index(roster, self._config.custodian)
        for path, file in zip(self._config.shares, files, strict=True):
            if file.custodian != self._config.custodian or file.index != index:
                raise ConfigError(f"{path}: not a share file of custodian {self._config.custodian}")
        return matching(files, manifest)

    def _stamps(self) -> dict[Path, tuple[int, int, int]]:
        config = self._config
        stamps = {}
        for path in (*sorted(config.roster.glob("*.note")), config.manifest, *config.shares):
            try:
                stat = path.stat()
            except OSError:
                continue
            stamps[path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return stamps


def _named(key: str, path: Path, read: Callable[[], Result]) -> Result:
    """What `read` reads; its error becomes a ConfigError that names the configuration's key and the file."""
    try:
        return read()
    except ConfigError as error:  # names its file already
        raise ConfigError(f"{key}: {error}") from None
    except ExchangeError as error:
        raise ConfigError(f"{key}: {path}: {error}") from None


def read_chain(folder: Path) -> RosterChain:
    """The chain of 0001.note, 0002.note and so on.

    Raises ConfigError where there is none, VerificationError, naming the note, where one lacks or does not
    extend the one before.
    """
    chain = RosterChain.start(read_file(folder / "0001.note", "roster"))
    for number, path in enumerate(sorted(folder.glob("[0-9][0-9][0-9][0-9].note"))[1:], 2):
        try:
            if path.name != f"{number:04d}.note":
                raise VerificationError(f"{number:04d}.note is missing before it")
            chain = chain.extend(read_file(path, "roster"))
        except ExchangeError as error:
            raise VerificationError(f"{path.name}: {error}") from None
    return chain


def _index(roster: Roster, name: str) -> int:
    for custodian in roster.custodians:
        if custodian.id == name:
            return custodian.index
    raise VerificationError(f"the roster has no custodian {name}")
