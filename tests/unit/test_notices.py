"""Every action and every code of the packaged rulebook has a notice in both languages."""

import pytest
from signalexchange.notices import NEUTRAL, NOTICES, advice_notice, reason_notice
from signalexchange.rulebook import ACTIONS, Rulebook, default_text
from signalexchange.v1.signal_service_pb2 import Action

CODES = [code.code for code in Rulebook.parse(default_text()).codes]


@pytest.mark.parametrize("name", list(ACTIONS))
def test_every_action_has_its_notice(name: str) -> None:
    assert advice_notice(ACTIONS[name]).code == f"advice-{name}"


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_its_notice(code: str) -> None:
    assert reason_notice(code).code == f"reason-{code}"


def test_notices_are_whole_and_unlike_each_other() -> None:
    for code, notice in NOTICES.items():
        assert notice.code == code
        assert any("一" <= character <= "鿿" for character in notice.zh_cn)
        assert notice.en.isascii()
    assert len({notice.zh_cn for notice in NOTICES.values()}) == len(NOTICES)
    assert len({notice.en for notice in NOTICES.values()}) == len(NOTICES)


def test_what_has_no_notice_gets_the_neutral_one() -> None:
    assert reason_notice("a-code-of-tomorrow") == NEUTRAL
    assert advice_notice(Action.ACTION_UNSPECIFIED) == NEUTRAL
