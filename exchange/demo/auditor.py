"""The demo's auditor, a process of its own for each step: `python -m exchange.demo.auditor STEP …`.

    fetch CONFIG EVIDENCE           reads rosters, rulebook, log and openings from the hub into files
    verify GENESIS EVIDENCE RESULT  checks these files, connected to nobody, and writes what it found

Invariants: verifying reads files alone and trusts the genesis roster alone; "ok" means that every entry was
opened and held, every receipt of a member too, and that nothing was left unchecked.
"""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from signalexchange.checkpoint import Checkpoint
from signalexchange.client import ExchangeClient
from signalexchange.config import load_config
from signalexchange.credentials import read_file
from signalexchange.entry_payloads import parse_header
from signalexchange.evidence import EvidenceFolder, Opening, read_openings
from signalexchange.note import split_note
from signalexchange.v1.log_entry_pb2 import EntryType
from signalexchange.verify import verify

PAGE = 1000


async def fetch(config: Path, evidence: Path) -> None:
    """Collect the log up to its newest checkpoint; raises ExchangeError."""
    folder = EvidenceFolder(evidence)
    async with ExchangeClient.from_config(load_config(config)) as client:
        await client.roster.roster()
        for version, (note, _) in enumerate(client.roster.chain.versions, 1):
            folder.add_roster(version, note)
        folder.set_rulebook(client.roster.rulebook_text)
        newest = await client.log.checkpoint()
        size = Checkpoint.parse(split_note(newest)[0]).size
        for start in range(0, size, PAGE):
            end = min(start + PAGE, size)
            folder.append_leaves(leaf.leaf for leaf in await client.log.leaves(start, end - start))
            folder.add_openings(
                Opening(
                    index=entry.index,
                    header=entry.header,
                    header_opening=entry.header_opening,
                    payload=entry.payload,
                    payload_opening=entry.payload_opening,
                )
                for entry in await client.log.open_entries(range(start, end))
            )
        folder.add_checkpoint(newest)


def check(genesis: Path, evidence: Path, result: Path) -> None:
    """Verify the evidence offline; raises ExchangeError where there is nothing to verify."""
    found = verify(evidence, read_file(genesis, "trust anchor"))
    entries = Counter(
        EntryType.Name(parse_header(opening.header).type).removeprefix("ENTRY_TYPE_").lower()
        for _, opening in read_openings(evidence)
        if isinstance(opening, Opening)
    )
    receipts = sum(1 for _ in (evidence / "receipts").glob("*.json"))
    whole = (
        found.size > 0
        and found.verified["leaves"] == found.verified["payloads"] == found.size
        and found.verified["receipts"] == receipts
        and not found.not_checked
    )
    document = {
        "ok": found.ok and whole,
        "size": found.size,
        "root": found.root.hex(),
        "entries": entries,
        "verified": found.verified,
        "not_checked": found.not_checked,
        "problems": [vars(problem) for problem in found.problems],
    }
    result.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    _step, *_paths = sys.argv[1:]
    if _step == "fetch":
        asyncio.run(fetch(*map(Path, _paths)))
    else:
        check(*map(Path, _paths))
