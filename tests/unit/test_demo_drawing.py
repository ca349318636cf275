"""The page that draws one match."""

import re
from html.parser import HTMLParser

from exchange.demo.drawing import Hop, page

PAYER, SHOP, MULE = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))


def _hop(reporter: str, source: bytes, target: bytes, time: int, code: str = "pass-through") -> Hop:
    return Hop(
        reporter, code, source, "account", target, "account" if target else "", time, "900–1,000", 7, 3
    )


def test_the_page_shows_every_hop_in_time_order_and_no_whole_token() -> None:
    hops = [
        _hop("bank-north", SHOP, MULE, 1_767_600_600),
        _hop("pay-lotus", PAYER, SHOP, 1_767_600_000, "credit-purchase"),
        _hop("bank-south", MULE, PAYER, 1_767_601_200),
        _hop("shop-river", PAYER, b"", 1_767_601_500, "line-exhausted"),
    ]
    text = page("a loop", [("pattern", "funds loop")], hops)
    assert [text.index(code) for code in ("credit-purchase", "line-exhausted")] == sorted(
        text.index(code) for code in ("credit-purchase", "line-exhausted")
    )
    assert text.count("<tr>") == 1 + len(hops)
    assert text.count("marker-end") == 3
    for token in (PAYER, SHOP, MULE):
        assert token.hex()[:8] in text
        assert token.hex()[:9] not in text


def test_what_comes_from_outside_is_escaped() -> None:
    text = page(
        "<script>alert(1)</script>", [("x", "<b>")], [_hop("<i>evil</i>", PAYER, SHOP, 1_767_600_000)]
    )
    tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)

    Tags().feed(text)
    assert not {"script", "i", "img"} & set(tags)
    assert not re.search(r'(?:src|href)="http', text)
