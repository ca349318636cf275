"""The command that watches every transaction, of files or as they come."""

import asyncio
import gc
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from signalexchange.cli.common import json_option, note, print_table, settings
from signalexchange.cli.decisions import need_libraries, settings_option, state_option, when

if TYPE_CHECKING:  # the detector's own libraries are an extra
    from signalexchange.detector.asking import Asker
    from signalexchange.detector.detector import Detector, Told
    from signalexchange.detector.output import Output
    from signalexchange.detector.publishing import Sender
    from signalexchange.detector.settings import DetectorSettings
    from signalexchange.detector.transactions import Rejected

SHOWN: Final = 20
"""Rejected rows that are shown one by one; all are counted."""
DRAIN: Final = 30.0
"""Seconds that signals may take to be sent once the input has ended."""
COLLECT: Final = (100_000, 50, 100)
"""Allocations after which cyclic garbage is looked for."""
STANDARD_INPUT: Final = "-"


@click.command()
@click.argument("files", nargs=-1, metavar="[FILES]...")
@state_option
@settings_option
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of what became of transactions, with columns id, fraud, at.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append every decision to a file, one JSON object a line, each once though the process dies.",
)
@click.option("--alone", is_flag=True, help="Don't ask the exchange and publish nothing.")
@click.option(
    "--replay", is_flag=True, help="Standard input is of the past: its times alone tell what time it is."
)
@json_option
def detect(
    files: Sequence[str],
    state: Path,
    settings_path: Path | None,
    labels: Path | None,
    output: Path | None,
    alone: bool,
    replay: bool,
    as_json: bool,
) -> None:
    """Decide on every transaction of FILES, in their order, or of standard input as they come (-).

    FILES are CSV, JSON Lines (.jsonl) or Parquet; standard input is JSON Lines. Required columns: id, time,
    customer, amount. Optional: kind, merchant, payee, device, card, credit, limit, currency. On standard
    input a line with "id" and "fraud" says what became of an earlier transaction.

    Decisions that matter are printed, with --json all of them. The state is kept: run again, it goes on where
    it stopped, after a crash too, and decides on no transaction twice. Nothing raw leaves this machine.
    """
    if STANDARD_INPUT in files and len(files) > 1:
        raise click.UsageError("- stands alone: standard input has no end that another file could follow")
    if (labels is not None and len(files) != 1) or (labels is not None and files[0] == STANDARD_INPUT):
        raise click.UsageError("--labels goes with one file: labels and transactions are merged by time")
    if replay and files not in ((), (STANDARD_INPUT,)):
        raise click.UsageError("--replay is for standard input: the times of files always count")
    need_libraries()
    from signalexchange.detector.settings import DetectorSettings, load_detector_settings

    loaded = load_detector_settings(settings_path) if settings_path is not None else DetectorSettings()
    if alone:
        loaded = loaded.model_copy(update={"exchange": None, "publish": [], "flows": False})
    paths = [Path(name) for name in files if name != STANDARD_INPUT]
    for path in paths:
        if not path.is_file():
            raise click.UsageError(f"{path}: no such file")
        if not str(path).isprintable():
            raise click.UsageError(f"{path!r}: its name can't be kept; name it in UTF-8")
    if not paths and sys.stdin is None:
        raise click.UsageError("there is no standard input; name a file")
    work = _Run(loaded, state, paths, labels, output, replay, as_json)
    asyncio.run(work.run())
    if work.interrupted:
        raise SystemExit(130)


class _Run:
    """One run of the command."""

    def __init__(
        self,
        loaded: "DetectorSettings",
        state: Path,
        paths: Sequence[Path],
        labels: Path | None,
        output: Path | None,
        replay: bool,
        as_json: bool,
    ) -> None:
        self._settings = loaded
        self._state = state
        self._paths = paths
        self._labels = labels
        self._output_path = output
        self._replay = replay
        self._as_json = as_json
        self._stopping = asyncio.Event()
        self._rejected = 0
        self._decided: Counter[str] = Counter()
        self._detector: Detector
        self._output: Output | None = None
        self.interrupted = False

    async def run(self) -> None:
        """Run it to its end, or until it is interrupted."""
        from signalexchange.detector.asking import Asker
        from signalexchange.detector.detector import Detector
        from signalexchange.detector.journal import DetectorJournal
        from signalexchange.detector.output import Output
        from signalexchange.detector.publishing import Sender

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        async with AsyncExitStack() as stack:
            journal = stack.enter_context(DetectorJournal(self._state, self._settings.key))
            asker: Asker | None = None
            sender: Sender | None = None
            exchange = self._settings.exchange
            if exchange is not None:
                client = await stack.enter_async_context(settings().client())
                asker = Asker(client, exchange)
                stack.push_async_callback(asker.close)
                if self._settings.publish or self._settings.flows:
                    sender = Sender(client, journal)
                    stack.push_async_callback(sender.close)
            if self._output_path is not None:
                self._output = Output(self._output_path, journal)
                stack.callback(self._output.close)
            self._detector = Detector.open(self._settings, journal, asker, sender, note)
            # What is remembered lives long and holds no cycles: looking through it takes a fifth of the time.
            gc.set_threshold(*COLLECT)
            gc.freeze()
            stack.push_async_callback(self._detector.close)
            started = time.monotonic()
            with _status() as show:
                await self._feed(show)
                if sender is not None and not await self._drained(sender):
                    note(f"some signals wait to be sent: {sender.problem}; they are sent when it runs again")
            self._summary(time.monotonic() - started, asker, sender)

    async def _drained(self, sender: "Sender") -> bool:
        """Wait until all signals are sent, or one is asked to stop."""
        waits = asyncio.ensure_future(sender.drained(0 if self.interrupted else DRAIN))
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({waits, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        return waits.done() and waits.result()

    def _stop(self) -> None:
        self.interrupted = True
        self._stopping.set()

    async def _feed(self, show: Callable[[str], None]) -> None:
        """All inputs to the detector, all decisions to where they belong."""
        from signalexchange.detector.detector import StoppedError

        try:
            async with aclosing(self._decisions()) as decisions:
                async for told, rejected in decisions:
                    self._tell(told, rejected)
                    show(f"{sum(self._decided.values()):,} decided, {when(self._detector.engine.now)}")
                    if self._stopping.is_set():
                        return
        except StoppedError as error:
            self._tell(error.told, [])
            raise

    def _tell(self, told: Sequence["Told"], rejected: Sequence["Rejected"]) -> None:
        for each in rejected:
            self._rejected += 1
            if self._rejected <= SHOWN:
                note(f"not taken: {each}")
            elif self._rejected == SHOWN + 1:
                note("not taken: more, which the table at the end counts")
        if self._output is not None:
            self._output.write(told)
        for number, transaction, decision in told:
            self._decided[decision.action] += 1
            if self._as_json:
                click.echo(json.dumps({"number": number} | decision.document(), ensure_ascii=False))
            elif decision.matters:
                click.echo(_line(transaction.amount, decision))

    async def _decisions(self) -> AsyncGenerator[tuple[list["Told"], list["Rejected"]], None]:
        from signalexchange.detector.arrivals import Label, by_time, read_labels
        from signalexchange.detector.detector import BATCH
        from signalexchange.detector.inputs import file_batches, line_batches

        detector, columns = self._detector, self._settings.table()
        given: list[Label] = []
        bad: list[Rejected] = []
        for label in read_labels(self._labels) if self._labels is not None else ():
            (given if isinstance(label, Label) else bad).append(label)  # type: ignore[arg-type]
        if bad:
            yield await detector.take(bad)
        labels = by_time(given)
        for path in self._paths:
            for batch in file_batches(path, columns, labels, detector.engine.sources):
                yield await detector.take(batch.arrivals, source=batch.position)
                await detector.learned()
        if self._paths:
            yield await detector.finish(), []
            # What became known after the last transaction, and what has no time.
            labels.reverse()
            for start in range(0, len(labels), BATCH):
                yield await detector.take(labels[start : start + BATCH])
            return
        if sys.stdin.isatty():
            note("reading transactions from standard input, one JSON object a line; end with Ctrl-D")
        lines = line_batches(sys.stdin.fileno(), columns)
        async with aclosing(lines), aclosing(_until(lines, self._stopping)) as batches:
            async for arrivals in batches:
                now = None if self._replay else int(time.time())
                if arrivals:
                    yield await detector.take(arrivals, now)
                elif now is not None:
                    yield await detector.tick(now), []
                if self._replay:
                    await detector.learned()
        if not self.interrupted:
            yield await detector.finish(), []

    def _summary(self, seconds: float, asker: "Asker | None", sender: "Sender | None") -> None:
        detector = self._detector
        engine, decided = detector.engine, sum(self._decided.values())
        counts, order = engine.counts, engine.order.counts
        model = engine.learner.current
        rows: list[tuple[str, object]] = [
            ("decided in this run", decided),
            ("a second", f"{decided / seconds:,.0f}" if seconds and decided else "-"),
            *((f"decided: {name}", self._decided[name]) for name in ("proceed", "authenticate", "hold")),
            ("waiting for others that may be late", len(engine.order)),
            ("not taken: unreadable rows", counts["unreadable"]),
            ("not taken: late", order.late),
            ("not taken: clock ahead", order.ahead),
            ("not taken: id used for another", order.reused + counts["reused"]),
            (
                "not taken: labels without a decision",
                sum(counts[f"label.{why}"] for why in ("unknown", "early", "ahead")),
            ),
            ("sent again, decided once", order.duplicates + counts["again"]),
            ("labels", counts["label.fraud"] + counts["label.genuine"]),
            ("model", f"version {model.version}" if model is not None else "none yet: rules decide alone"),
        ]
        if asker is not None:
            rows += [
                (f"exchange {name}", counts[f"shared.{name}"])
                for name in ("answered", "nothing", "late", "unreachable")
            ]
            rows += [(f"subjects {name.replace('_', ' ')}", n) for name, n in sorted(asker.counts.items())]
            if asker.problem:
                rows.append(("exchange: last problem", asker.problem))
        if sender is not None:
            rows += [(f"signals {name.replace('_', ' ')}", n) for name, n in sorted(sender.counts.items())]
            rows += [(f"left out: {why}", n) for why, n in sender.left_out.most_common(5)]
        if self._as_json:
            click.echo(json.dumps({"summary": {name: str(value) for name, value in rows}}), err=True)
        else:
            print_table(("what", "number"), rows)
        if self.interrupted:
            note("stopped; run it again to go on")


async def _until(batches: AsyncGenerator[Any, None], stopping: asyncio.Event) -> AsyncGenerator[Any, None]:
    """The batches, until one is asked to stop: between two of them, never within."""
    stop = asyncio.create_task(stopping.wait())
    following: asyncio.Future[Any] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(batches))
            await asyncio.wait({following, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                return
            try:
                yield following.result()
            except StopAsyncIteration:
                return
    finally:
        stop.cancel()
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@contextmanager
def _status() -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says how far it is."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    # Lines for people go above the bar; a pipe behind standard output must get its lines all the same.
    with Bars(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda text: bars.update(task, description=text)


def _line(amount: int, decision: Any) -> str:
    what = decision.action + (" + review" if decision.review else "")
    shared = "" if decision.shared in ("answered", "nothing", "off") else f" [exchange {decision.shared}]"
    why = "; ".join(f"{each.source} {each.code}" for each in decision.reasons[:4])
    head = f"{when(decision.time)}  {what:21} {decision.score:4}  {amount / 100:12,.2f}"
    return f"{head}  {decision.id}{shared}  {why}"
