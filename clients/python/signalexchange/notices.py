"""Customer notices, in Chinese (zh-CN) and English, for every advised action and every indicator code.

Invariants: notice codes are stable and never reused for another meaning; a notice tells the customer what
happens, what may be done about it and what the law says, never who reported or what exactly; a code without
a notice of its own gets the neutral one, so that the absence of a text tells nothing.
"""

from typing import Final, NamedTuple

from signalexchange.v1.signal_service_pb2 import Action


class Notice(NamedTuple):
    """A notice's stable code and its texts."""

    code: str
    zh_cn: str
    en: str


NEUTRAL: Final = Notice(
    "reason-other",
    "本次核验依据行业风险规则进行。您可以要求说明，也可以提出异议。",
    "This check follows the industry's risk rules. You may ask for an explanation and object.",
)
"""Stands in wherever a code has no notice of its own."""

_ADVICE: Final = {
    Action.ACTION_ALLOW: Notice(
        "advice-allow",
        "交易正常进行，无需您采取任何行动。",
        "Your transaction proceeds; nothing is asked of you.",
    ),
    Action.ACTION_AUTHENTICATE: Notice(
        "advice-authenticate",
        "为保护您的账户，请完成一次额外的身份验证。验证通过后交易照常进行。",
        "To protect your account, please complete one more authentication. The transaction then "
        "proceeds as usual.",
    ),
    Action.ACTION_EXPLAIN: Notice(
        "advice-explain",
        "请说明本次交易的用途，并可提供订单、物流等凭证。在您说明之前，不会据此作出不利决定。",
        "Please explain what this transaction is for; orders or delivery records help. No decision "
        "against you is taken "
        "before you could explain.",
    ),
    Action.ACTION_INTERCEPT: Notice(
        "advice-intercept",
        "本次交易已暂缓处理，资金未被划走。请联系我们说明情况；如核实无误，将立即放行。",
        "This transaction is on hold and no money has moved. Please contact us; once clarified it is "
        "released at once.",
    ),
    Action.ACTION_RESTRICT: Notice(
        "advice-restrict",
        "经人工审核，您的部分信贷功能受到限制。您有权了解理由、提交材料并申请复核；复核期间会标注争议。以虚构交易套取"
        "信用资金可能违反合同并承担法律责任。",
        "After a person's review, some credit functions are restricted. You have the right to the "
        "reasons, to submit "
        "evidence and to appeal; a dispute is marked while it lasts. Drawing cash from credit through"
        " sham purchases may "
        "breach your contract and the law.",
    ),
    Action.ACTION_FREEZE: Notice(
        "advice-freeze",
        "经人工审核，您的账户已被暂时冻结。您有权了解理由、申请复核，并可向监管部门投诉。冻结不影响您依法应得的款项。",
        "After a person's review, your account is frozen for the time being. You have the right to "
        "the reasons, to appeal "
        "and to complain to the regulator. What is lawfully yours remains yours.",
    ),
}

_REASONS: Final = {
    notice.code.removeprefix("reason-"): notice
    for notice in (
        NEUTRAL,
        Notice(
            "reason-account-takeover",
            "有迹象表明账户可能被他人使用。请尽快修改密码并核对近期交易。",
            "There are signs that somebody else may be using the account. Change your password and check "
            "recent transactions.",
        ),
        Notice(
            "reason-card-leaked",
            "您的卡片信息可能已经泄露。请申请换卡；未经您授权的交易可以申请撤销。",
            "Your card's data may have leaked. Ask for a new card; transactions you did not authorise can"
            " be reversed.",
        ),
        Notice(
            "reason-cash-out-suspected",
            "交易与信用卡或信贷资金套现的特征相符。套现违反信贷合同，可能影响征信，情节严重的须承担法律责任。",
            "The transaction resembles turning credit into cash. That breaches the credit contract, may "
            "affect your credit "
            "record and, in serious cases, the law.",
        ),
        Notice(
            "reason-credit-purchase",
            "该笔信用消费被用于与其他机构的信息核对，这本身不表示存在风险。",
            "This purchase on credit was checked together with others' facts; this by itself is no sign of "
            "risk.",
        ),
        Notice(
            "reason-device-farm",
            "所用设备或地址关联了大量账户。请使用您本人的设备办理。",
            "The device or address used is connected to many accounts. Please use a device of your own.",
        ),
        Notice(
            "reason-line-exhausted",
            "信用额度在短时间内用尽。如遇还款困难，请尽早与我们协商。",
            "A credit line was used up within a short time. If repayment will be hard, please talk to us "
            "early.",
        ),
        Notice(
            "reason-logistics-mismatch",
            "物流信息与订单不符。请核对收货信息并保留凭证。",
            "Delivery data do not fit the order. Please check the delivery details and keep your records.",
        ),
        Notice(
            "reason-merchant-sham",
            "收款商户可能没有真实经营。请确认交易背景，谨防受骗。",
            "The merchant may have no real business. Please make sure what you pay for and beware of fraud.",
        ),
        Notice(
            "reason-mule-account",
            "相关账户可能被用于代收代转他人资金。出租、出借账户违法，请勿为他人过账。",
            "The account may be passing on other people's money. Lending or renting out an account is "
            "unlawful.",
        ),
        Notice(
            "reason-pass-through",
            "该笔转账被用于与其他机构的信息核对，这本身不表示存在风险。",
            "This transfer was checked together with others' facts; this by itself is no sign of risk.",
        ),
        Notice(
            "reason-rapid-return-flow",
            "资金在短时间内扣费后回流。请说明往来的真实用途。",
            "Money returned within a short time, less a fee. Please explain what the payments were for.",
        ),
        Notice(
            "reason-refund-without-shipment",
            "订单未发货即快速退款。请提供订单与退款的说明。",
            "An order was refunded quickly and never shipped. Please explain order and refund.",
        ),
        Notice(
            "reason-repay-and-respend",
            "存在以一家机构的信贷偿还另一家债务后立即再次支用的迹象。如有还款困难，请与我们协商。",
            "Credit of one lender seems to repay another and is spent again at once. If repayment is "
            "hard, please talk to us.",
        ),
        Notice(
            "reason-same-subject",
            "同一主体的信息被合并核对，这本身不表示存在风险。",
            "Details of the same subject were checked together; this by itself is no sign of risk.",
        ),
        Notice(
            "reason-sanction-frozen",
            "另一机构经人工审核冻结过相关账户。这本身不会导致您在本机构的账户被冻结。",
            "Another institution froze the account after a person's review. By itself this freezes nothing "
            "here.",
        ),
        Notice(
            "reason-sanction-restricted",
            "另一机构经人工审核限制过相关信贷功能。这本身不会导致您在本机构的功能受到限制。",
            "Another institution restricted credit functions after a person's review. By itself this "
            "restricts nothing here.",
        ),
        Notice(
            "reason-shared-value",
            "该信息为多人共用，不会用于认定个人之间的关联。",
            "Many people share this detail; it is not used to connect persons.",
        ),
        Notice(
            "reason-synthetic-identity",
            "身份信息需要进一步核实。请携带有效证件办理。",
            "Identity details need further verification. Please bring a valid document.",
        ),
        Notice(
            "reason-terminal-compromised",
            "您使用的收款终端近期出现过欺诈交易。请核对账单。",
            "There were fraudulent transactions at the terminal you used. Please check your statement.",
        ),
    )
}

NOTICES: Final = {notice.code: notice for notice in (*_ADVICE.values(), *_REASONS.values())}
"""Every notice by its code."""


def advice_notice(action: Action.ValueType) -> Notice:
    """The notice that goes with an advised action; the neutral one for an unknown action."""
    return _ADVICE.get(action, NEUTRAL)


def reason_notice(code: str) -> Notice:
    """The notice of an indicator code of the rulebook; the neutral one for a code without its own."""
    return _REASONS.get(code, NEUTRAL)
