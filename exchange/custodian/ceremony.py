"""The key ceremony: a dealer shares new token keys, custodians verify their shares and co-sign the manifest.

Invariants: the joint secret of a key exists only while `deal` runs and is never written; every custodian's
shares go into a file of their own; `cosign` signs only a manifest whose keys all verify and of each of which
the custodian holds a matching share. The dealer is trusted to forget what it dealt and is not the operator.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from signalexchange import threshold
from signalexchange.credentials import read_file
from signalexchange.errors import ConfigError, MalformedError, VerificationError
from signalexchange.manifest import KeyManifest, TokenKey, check_manifest, open_manifest
from signalexchange.note import Signer, add_signatures, sign_note, split_note
from signalexchange.roster import Roster

from exchange.custodian.shares import Share, ShareFile, matching, read_shares


@dataclass(frozen=True)
class KeySpec:
    """A key to deal: identifier type by name, epoch, validity in Unix seconds [from, until), generation."""

    type: str
    epoch: int
    valid_from: int
    valid_until: int
    generation: int = 1


@dataclass(frozen=True)
class Dealt:
    """The files of a dealing: the manifest, not yet signed, and a share file for each custodian id."""

    manifest: Path
    shares: dict[str, Path]


def deal(
    roster: Roster, specs: Sequence[KeySpec], folder: Path, previous: KeyManifest | None = None
) -> Dealt:
    """Deal new keys, threshold and custodians as the roster says, into new files of `folder`.

    Writes `manifest.note` (text without signatures so far) and, for each custodian, `<id>.shares.json` (mode
    0600). With `previous` the new manifest continues it: its keys stay listed beside the new ones. Raises
    ConfigError for files that exist or can't be written, MalformedError for specs that no manifest can hold.
    """
    dealings = [threshold.deal(roster.threshold, [c.index for c in roster.custodians]) for _ in specs]
    try:
        new = [_public(spec, dealing) for spec, dealing in zip(specs, dealings, strict=True)]
        manifest = KeyManifest(
            version=previous.version + 1 if previous else 1,
            origin=roster.origin,
            threshold=roster.threshold,
            keys=(*previous.keys, *new) if previous else tuple(new),
        )
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise MalformedError(f"keys that no manifest can hold: {problems}") from None
    dealt = Dealt(folder / "manifest.note", {c.id: folder / f"{c.id}.shares.json" for c in roster.custodians})
    for path in (dealt.manifest, *dealt.shares.values()):
        if path.exists():
            raise ConfigError(f"{path}: exists; deal into an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    for custodian in roster.custodians:
        ShareFile(
            version=1,
            origin=roster.origin,
            custodian=custodian.id,
            index=custodian.index,
            shares=tuple(
                Share(
                    type=spec.type,
                    epoch=spec.epoch,
                    generation=spec.generation,
                    share=dealing.shares[custodian.index],
                )
                for spec, dealing in zip(specs, dealings, strict=True)
            ),
        ).write(dealt.shares[custodian.id])
    _replace(dealt.manifest, manifest.text().encode())
    return dealt


def cosign(roster: Roster, share_files: Sequence[Path], manifest_path: Path, signer: Signer) -> None:
    """One custodian's step: check the manifest and its own shares of all keys, then add its signature.

    `share_files` are all that the custodian was dealt, earlier ceremonies included. The order of custodians
    is free. Raises ConfigError for unusable files, MalformedError or VerificationError for what does not
    match; nothing is signed.
    """
    files = [read_shares(path) for path in share_files]
    custodian = next((c for c in roster.custodians if c.key == signer.verifier.vkey), None)
    if custodian is None:
        raise VerificationError("the signing key is not that of a custodian of the roster")
    if any(file.custodian != custodian.id or file.index != custodian.index for file in files):
        raise VerificationError(f"a share file is not custodian {custodian.id}'s")
    data = read_file(manifest_path, "key manifest")
    signed = b"\n\n" in data  # a manifest's text holds no empty line
    try:
        text = split_note(data)[0] if signed else data.decode()
    except UnicodeDecodeError:
        raise MalformedError("the manifest is not UTF-8") from None
    manifest = KeyManifest.parse(text)
    check_manifest(manifest, roster)
    matching(files, manifest)
    _replace(manifest_path, add_signatures(data, [signer]) if signed else sign_note(text, [signer]))


def read_manifest(path: Path, roster: Roster) -> KeyManifest:
    """The manifest in force, which a new one is to continue; every custodian must have signed it.

    Raises ConfigError for an unreadable file, MalformedError or VerificationError for what does not verify.
    """
    return open_manifest(read_file(path, "key manifest"), roster)


def _public(spec: KeySpec, dealing: threshold.Dealing) -> TokenKey:
    return TokenKey(
        type=spec.type,
        epoch=spec.epoch,
        generation=spec.generation,
        valid_from=spec.valid_from,
        valid_until=spec.valid_until,
        public_key=dealing.public_key,
        commitments=dealing.commitments,
        public_shares={str(index): point for index, point in dealing.public_shares.items()},
    )


def _replace(path: Path, data: bytes) -> None:
    """Write a public file whole or not at all."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: can't write the manifest: {error.strerror}") from None
