"""Makes a snapshot of a detector's journal, in a process of its own:
`python -m signalexchange.detector.aside FOLDER KEY`, with the settings as JSON on standard input.

Invariant: it reads what is durable, and writes nothing but the snapshot; the detector goes on meanwhile.
"""

import os
import sys
from pathlib import Path

from signalexchange.detector.journal import snapshot_aside
from signalexchange.detector.settings import DetectorSettings
from signalexchange.errors import ExchangeError


def main() -> int:
    """0, or 1 where no snapshot could be made; standard error says why."""
    folder, key = map(Path, sys.argv[1:])
    os.nice(5)
    settings = DetectorSettings.model_validate_json(sys.stdin.read(), context={"folder": folder})
    try:
        snapshot_aside(folder, key, settings)
    except ExchangeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
