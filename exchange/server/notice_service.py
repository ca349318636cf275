"""The hub's NoticeService: thin, as the services beside it."""

from typing import Any

from signalexchange.v1 import notice_service_pb2 as notices
from signalexchange.v1.notice_service_pb2_grpc import NoticeServiceServicer

from exchange.usecases.notices import get_notice, list_legal_facts, list_notices

Context = Any


class NoticeServicer(NoticeServiceServicer):
    """NoticeService."""

    async def ListNotices(  # noqa: N802
        self, request: notices.ListNoticesRequest, context: Context
    ) -> notices.ListNoticesResponse:
        """All notices, or those of a kind."""
        return list_notices(request)

    async def GetNotice(  # noqa: N802
        self, request: notices.GetNoticeRequest, context: Context
    ) -> notices.GetNoticeResponse:
        """One notice."""
        return get_notice(request)

    async def ListLegalFacts(  # noqa: N802
        self, request: notices.ListLegalFactsRequest, context: Context
    ) -> notices.ListLegalFactsResponse:
        """What the law says."""
        return list_legal_facts(request)
