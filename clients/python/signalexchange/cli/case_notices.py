"""The notice that goes with a step of a case: rendered for the customer, committed to in the step."""

from hashlib import sha256
from typing import Final

from signalexchange.cli.common import note
from signalexchange.notices import advice_notice
from signalexchange.v1.case_service_pb2 import LANGUAGE_EN, LANGUAGE_ZH_CN, NoticeShown
from signalexchange.v1.signal_service_pb2 import Action

LANGUAGES: Final = {"zh-CN": LANGUAGE_ZH_CN, "en": LANGUAGE_EN}


def of_action(action: Action.ValueType, language: str) -> NoticeShown:
    """The notice of an action, printed for who gives it to the customer."""
    notice = advice_notice(action)
    text = notice.en if language == "en" else notice.zh_cn
    note(f"notice {notice.code}: {text}")
    return NoticeShown(code=notice.code, language=LANGUAGES[language], digest=sha256(text.encode()).digest())
