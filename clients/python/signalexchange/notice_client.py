"""The hub's catalogue of customer notices, as a member reads it.

What a member renders comes from its own packaged catalogue (`signalexchange.notices`); this shows what the
hub holds, for instance to compare versions. Nothing of a customer goes to the hub.
"""

from signalexchange.connection import GET_NOTICE, LIST_LEGAL_FACTS, LIST_NOTICES, TIMEOUT, Connection
from signalexchange.v1.case_service_pb2 import Language
from signalexchange.v1.notice_service_pb2 import (
    NOTICE_KIND_UNSPECIFIED,
    GetNoticeRequest,
    GetNoticeResponse,
    ListLegalFactsRequest,
    ListLegalFactsResponse,
    ListNoticesRequest,
    ListNoticesResponse,
    NoticeKind,
)


class NoticeClient:
    """Notices and legal facts over a connection to the hub."""

    def __init__(self, hub: Connection) -> None:
        self._hub = hub

    async def all(
        self,
        language: Language.ValueType,
        kind: NoticeKind.ValueType = NOTICE_KIND_UNSPECIFIED,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> ListNoticesResponse:
        """All notices, or those of a kind."""
        request = ListNoticesRequest(language=language, kind=kind)
        return await self._hub.call(LIST_NOTICES, request, timeout)

    async def get(
        self,
        code: str,
        language: Language.ValueType,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> GetNoticeResponse:
        """One notice. Raises RefusedError NOTICE_UNKNOWN."""
        request = GetNoticeRequest(code=code, language=language)
        return await self._hub.call(GET_NOTICE, request, timeout)

    async def legal_facts(
        self,
        language: Language.ValueType,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> ListLegalFactsResponse:
        """What the notices refer to of the law: information, not legal advice."""
        return await self._hub.call(LIST_LEGAL_FACTS, ListLegalFactsRequest(language=language), timeout)
