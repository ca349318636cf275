"""Commands about what customers are told: notices list, show, render, education, check."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import click

from signalexchange.cli.common import UNVERIFIED, json_option, note, print_json, print_table
from signalexchange.notices.catalogue import FILES, PARTS, Catalogue, KindName, Notice, packaged_catalogue
from signalexchange.notices.law import LANGUAGES, LanguageName
from signalexchange.notices.rendering import DATES, Form, Value, legal_lines, render
from signalexchange.rulebook import Rulebook, default_text

UNREVIEWED = "not yet reviewed by counsel"

language_option = click.option(
    "--language",
    type=click.Choice(list(LANGUAGES)),
    default=LANGUAGES[0],
    show_default=True,
    help="Language of the texts.",
)
html_option = click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page that can be printed to this file.",
)
value_option = click.option(
    "--value",
    "values",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of a placeholder, for each one; times as Unix seconds or as in 2026-12-01T18:00+08:00.",
)


@click.group()
def notices() -> None:
    """Show, render and check what customers are told: actions, steps, reasons, patterns, education.

    Everything here works without the hub; values for placeholders never leave this machine. Information, not
    legal advice.
    """


@notices.command("list")
@click.option("--kind", type=click.Choice(list(FILES.values())), help="Only notices of this kind.")
@language_option
@json_option
def list_(kind: str | None, language: str, as_json: bool) -> None:
    """List notices with their titles, whether they show reasons, and who reviewed them."""
    known = packaged_catalogue()
    found = [each for _, each in sorted(known.notices.items()) if kind in (None, each.kind)]
    documents = [_document(known, each, _spoken(language)) for each in found]
    if as_json:
        print_json(documents)
        return
    print_table(
        ("code", "kind", "title", "version", "reasons", "reviewed by"),
        [
            (
                each["code"],
                each["kind"],
                each["title"],
                each["version"],
                each["reasons"] or "-",
                each["reviewed_by"] or UNREVIEWED,
            )
            for each in documents
        ],
    )


@notices.command()
@click.argument("code")
@language_option
@json_option
def show(code: str, language: str, as_json: bool) -> None:
    """Show the notice CODE as it stands in the catalogue, with its placeholders."""
    known = packaged_catalogue()
    document = _document(known, _notice(known, code), _spoken(language))
    if as_json:
        print_json(document)
        return
    click.echo(f"{document['title']}\n")
    for part in document["parts"]:
        click.echo(f"{part['heading']}\n{part['text']}\n")
    click.echo(known.law.disclaimer.of(_spoken(language)))
    wants = ", ".join(document["placeholders"]) or "none"
    note(f"placeholders: {wants}; reviewed by: {document['reviewed_by'] or UNREVIEWED}")


@notices.command("render")
@click.argument("code")
@value_option
@click.option("--reason", help="Indicator code or pattern; it goes in only where the notice shows reasons.")
@language_option
@html_option
@json_option
def render_(
    code: str,
    values: tuple[str, ...],
    reason: str | None,
    language: str,
    page: Path | None,
    as_json: bool,
) -> None:
    """Render the notice CODE for one customer, and print the digest that goes into the case."""
    _notice(packaged_catalogue(), code)
    form: Form = "text" if page is None else "html"
    rendered = render(code, language, placeholder_values(values), reason=reason, form=form)
    if page is not None:
        page.write_text(rendered.text, "utf-8")
    if as_json:
        print_json(
            {
                "code": code,
                "language": language,
                "digest": rendered.digest.hex(),
                "text": rendered.text if page is None else None,
                "html": str(page) if page is not None else None,
            }
        )
        return
    if page is None:
        click.echo(rendered.text, nl=False)
    note(f"digest {rendered.digest.hex()}")


@notices.command()
@click.argument("topic", required=False)
@language_option
@html_option
@json_option
def education(topic: str | None, language: str, page: Path | None, as_json: bool) -> None:
    """Show what is told about cash-out: all topics, or the TOPIC, such as cost or liability."""
    known = packaged_catalogue()
    if topic is None:
        if page is not None:
            raise click.UsageError("--html needs a TOPIC")
        rows = [
            (each.code.removeprefix("education-"), each.title.of(_spoken(language)))
            for _, each in sorted(known.notices.items())
            if each.kind == "education"
        ]
        if as_json:
            print_json([{"topic": name, "title": title} for name, title in rows])
        else:
            print_table(("topic", "title"), rows)
        return
    code = f"education-{topic}"
    _notice(known, code)
    if page is not None:
        page.write_text(render(code, language, {}, form="html").text, "utf-8")
    elif as_json:
        print_json(_document(known, known.get(code), _spoken(language)))
    else:
        click.echo(render(code, language, {}).text, nl=False)


@notices.command()
@click.option(
    "--rulebook",
    "rulebook_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A rulebook whose codes must all have a notice; the packaged one if left out.",
)
@click.option("--release", is_flag=True, help="Fail where a notice has not been reviewed.")
@json_option
def check(rulebook_file: Path | None, release: bool, as_json: bool) -> None:
    """Check that every code, pattern and action has its notice, and list what nobody has reviewed.

    Ends with exit code 3 where a notice is missing, with --release also where one has not been reviewed.
    """
    known = packaged_catalogue()
    text = default_text() if rulebook_file is None else rulebook_file.read_text("utf-8")
    lacking = known.lacking(Rulebook.parse(text))
    unreviewed = [each.code for each in known.unreviewed]
    if as_json:
        print_json({"notices": len(known.notices), "lacking": lacking, "unreviewed": unreviewed})
    else:
        for code in lacking:
            click.echo(f"{code}: missing")
        for code in unreviewed:
            click.echo(f"{code}: {UNREVIEWED}")
        note(f"{len(known.notices)} notices, {len(lacking)} missing, {len(unreviewed)} not reviewed")
    if lacking or (release and unreviewed):
        raise click.exceptions.Exit(UNVERIFIED)


def _document(known: Catalogue, notice: Notice, language: LanguageName) -> dict[str, Any]:
    parts = [
        {
            "name": name,
            "heading": known.frame.heading(notice.kind, name, language),
            "text": notice.part(name).of(language),
        }
        for name in PARTS
    ]
    law = {
        "name": "law",
        "heading": known.frame.heading(notice.kind, "law", language),
        "text": "\n".join(legal_lines(known, notice, language)),
    }
    kind: KindName = notice.kind
    review = notice.reviewed_by
    return {
        "code": notice.code,
        "kind": kind,
        "version": notice.version,
        "language": language,
        "title": notice.title.of(language),
        "parts": [*parts[:-1], *([law] if notice.law else []), parts[-1]],
        "placeholders": sorted(known.wants(notice)),
        "reasons": notice.reasons,
        "law": list(notice.law),
        "reviewed_by": f"{review.role}, {review.date}" if review else None,
        "disclaimer": known.law.disclaimer.of(language),
    }


def _notice(known: Catalogue, code: str) -> Notice:
    if code not in known.notices:
        raise click.UsageError(f"no notice {code!r}; `signalexchange notices list` lists them")
    return known.notices[code]


def _spoken(language: str) -> LanguageName:
    return cast(LanguageName, language)


def placeholder_values(given: Sequence[str]) -> dict[str, Value]:
    """Values by placeholder; raises click.UsageError."""
    values: dict[str, Value] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or name in values:
            raise click.UsageError("--value takes NAME=VALUE, each name once")
        values[name] = _time(name, value) if name in DATES else value
    return values


def _time(name: str, value: str) -> int:
    if value.isascii() and value.isdigit():
        return int(value)
    try:
        at = datetime.datetime.fromisoformat(value)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise click.UsageError(f"{name} is no time with an offset, such as 2026-12-01T18:00+08:00")
    return int(at.timestamp())
