"""NoticeService over mTLS: every enrolled party reads the catalogue; no customer's values go there."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from signalexchange.errors import RefusedError
from signalexchange.notices.catalogue import packaged_catalogue
from signalexchange.notices.law import packaged_law
from signalexchange.notices.rendering import render
from signalexchange.v1 import notice_service_pb2 as contract
from signalexchange.v1.case_service_pb2 import LANGUAGE_EN, LANGUAGE_UNSPECIFIED, LANGUAGE_ZH_CN
from signalexchange.v1.notice_service_pb2 import (
    LEGAL_COUNTER_GAIN,
    LEGAL_LEVEL_ESPECIALLY_SERIOUS,
    NOTICE_KIND_EDUCATION,
    NOTICE_REASONS_ON_REQUEST,
    NOTICE_REASONS_SHOWN,
)

from tests.support.sdk import World, world

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("notices")) as running:
        yield running


@pytest.mark.parametrize("party", ["bank-north", "audit-one", "operator", "police-one"])
async def test_every_enrolled_party_reads_the_catalogue(exchange: World, party: str) -> None:
    client = await exchange.client(party)
    for language, name in ((LANGUAGE_ZH_CN, "zh-CN"), (LANGUAGE_EN, "en")):
        answer = await client.notices.all(language)
        assert [each.code for each in answer.notices] == sorted(packaged_catalogue().notices)
        assert answer.disclaimer == getattr(packaged_law().disclaimer, name.replace("-", "_").lower())
        assert {each.language for each in answer.notices} == {language}
    topics = await client.notices.all(LANGUAGE_EN, NOTICE_KIND_EDUCATION)
    assert {each.kind for each in topics.notices} == {NOTICE_KIND_EDUCATION}
    assert len(topics.notices) >= 5


async def test_a_notice_comes_with_its_parts_and_its_law(exchange: World) -> None:
    client = await exchange.client("bank-north")
    notice = (await client.notices.get("advice-explain", LANGUAGE_EN)).notice
    assert [part.name for part in notice.parts] == ["seen", "means", "options", "law", "next"]
    assert "{deadline}" in notice.parts[2].text
    assert list(notice.placeholders) == sorted(
        packaged_catalogue().wants(packaged_catalogue().get("advice-explain"))
    )
    assert notice.reasons == NOTICE_REASONS_SHOWN
    assert "pipl" in notice.law
    assert (notice.reviewed_by, notice.reviewed_on) == ("", "")
    frozen = (await client.notices.get("advice-freeze", LANGUAGE_ZH_CN)).notice
    assert frozen.reasons == NOTICE_REASONS_ON_REQUEST
    facts = {fact.id: fact for fact in (await client.notices.legal_facts(LANGUAGE_ZH_CN)).facts}
    threshold = contract.LegalThreshold(
        counter=LEGAL_COUNTER_GAIN, level=LEGAL_LEVEL_ESPECIALLY_SERIOUS, yuan=500_000
    )
    assert threshold in facts["payment-settlement-interpretation"].thresholds


async def test_what_is_not_there_is_refused(exchange: World) -> None:
    client = await exchange.client("bank-north")
    with pytest.raises(RefusedError) as caught:
        await client.notices.get("advice-nonsense", LANGUAGE_EN)
    assert caught.value.reason == "NOTICE_UNKNOWN"
    for call in (
        client.notices.all(LANGUAGE_UNSPECIFIED),
        client.notices.get("advice-freeze", LANGUAGE_UNSPECIFIED),
        client.notices.legal_facts(LANGUAGE_UNSPECIFIED),
        client.notices.all(LANGUAGE_EN, 99),  # type: ignore[arg-type]
    ):
        with pytest.raises(RefusedError) as caught:
            await call
        assert caught.value.reason == "INVALID_REQUEST"


async def test_no_request_has_room_for_a_customers_values() -> None:
    fields = {
        name: {field.name for field in message.fields}
        for name, message in contract.DESCRIPTOR.message_types_by_name.items()
        if name.endswith("Request")
    }
    assert fields == {
        "ListNoticesRequest": {"language", "kind"},
        "GetNoticeRequest": {"code", "language"},
        "ListLegalFactsRequest": {"language"},
    }


async def test_the_hubs_texts_are_those_that_members_render(exchange: World) -> None:
    client = await exchange.client("bank-north")
    answer, _ = await asyncio.gather(
        client.notices.get("reason-mule-account", LANGUAGE_EN), client.notices.legal_facts(LANGUAGE_EN)
    )
    rendered = render("reason-mule-account", "en", {}).text
    for part in answer.notice.parts:
        assert f"{part.heading}\n{part.text}" in rendered
