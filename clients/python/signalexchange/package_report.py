"""An evidence package for people: one page of HTML, in Chinese and English, to be read and printed on A4.

Invariants: it says what the parts say and nothing else, and the same parts give the same bytes; everything
that comes from outside is escaped; it loads nothing and runs nothing. It says of each thing what it proves
and what it does not: it is information, not a verdict.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from html import escape
from typing import Any

from signalexchange.cases import step_name
from signalexchange.identifiers import TYPE_NAMES
from signalexchange.package import Manifest
from signalexchange.package_contents import Contents, ReleasedCase, ReleasedMatch, ReleasedSignal
from signalexchange.rulebook import Rulebook
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.match_service_pb2 import MatchPart, MatchStatus, Pattern, ThresholdStanding
from signalexchange.v1.notice_service_pb2 import LegalCounter, LegalLevel
from signalexchange.v1.outcome_service_pb2 import Verdict
from signalexchange.v1.signal_pb2 import EvidenceGrade, LegalBasis
from signalexchange.v1.signal_service_pb2 import Action, ContributionBucket

REPORT_VERSION = 1
"""Goes up with every change of what is rendered."""

_CONTEXT = Context(prec=20)
_STYLE = """
@page { size: A4; margin: 18mm 16mm }
body { font: 10.5pt/1.45 "Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", sans-serif; color: #111;
  max-width: 178mm; margin: 0 auto; padding: 8mm 0 }
h1 { font-size: 18pt; margin: 0 0 4mm } h2 { font-size: 13pt; margin: 8mm 0 2mm; break-after: avoid }
h3 { font-size: 11pt; margin: 5mm 0 1mm; break-after: avoid }
table { border-collapse: collapse; width: 100%; margin: 1mm 0 3mm; break-inside: avoid }
th, td { border: 0.3mm solid #999; padding: 1mm 2mm; text-align: left; vertical-align: top;
  overflow-wrap: anywhere }
th { width: 32%; background: #f2f2f2; font-weight: 600 } table.wide th { width: auto }
.notice { border: 0.6mm solid #111; padding: 3mm; margin: 3mm 0 } .proves { color: #333; margin: 1mm 0 3mm }
.changed { border-left: 1.2mm solid #b00; padding-left: 2mm; font-weight: 600 } code { font-size: 9pt }
@media print { body { padding: 0 } }
"""

_PATTERNS = {
    "funds_loop": "资金回流", "refund_loop": "虚假退款回流", "payer_ring": "付款人团伙",
    "merchant_hopping": "商户轮换", "repay_and_respend": "以卡养卡", "bust_out": "集中透支",
    "collecting_account": "归集账户",
}  # fmt: skip
_FACTORS = {
    "pattern": ("模式本身", "how telling the pattern is by itself"),
    "groups": ("独立机构数", "each independent controlling group beyond the second"),
    "repetition": ("重复次数", "each doubling of how often it happened"),
    "rarity": ("关联值的稀有性", "how rare the values are that join the parts"),
    "reliability": ("报告方过往可靠性", "how right those who reported proved to be before"),
}
_STEPS = {
    "open": "立案", "authenticate": "身份验证", "explain": "要求说明", "intercept": "暂缓交易",
    "restrict": "限制功能", "freeze": "冻结", "decide-proposal": "第二责任人决定",
    "receive-explanation": "收到说明", "judge-explanation": "评定说明", "receive-appeal": "收到申诉",
    "decide-appeal": "申诉决定", "lift": "解除", "close": "结案", "acknowledge-notice": "客户确认通知",
}  # fmt: skip
_CHANGES = {"withdrawn": "已撤回 · WITHDRAWN", "refuted": "已被提供方否定 · REFUTED by the member"}
_BUCKETS = {
    ContributionBucket.CONTRIBUTION_BUCKET_MINOR: "轻 · less than a quarter",
    ContributionBucket.CONTRIBUTION_BUCKET_MODERATE: "中 · a quarter to a half",
    ContributionBucket.CONTRIBUTION_BUCKET_MAJOR: "重 · half or more",
}

MAX_BAND = 255
Row = tuple[str, object]


def render(contents: Contents) -> bytes:
    """The page, UTF-8. Raises MalformedError for contents without a checkpoint."""
    manifest = contents.manifest
    body = [
        "<h1>证据包 · Evidence package</h1>",
        _head(contents),
        _reading(),
        "<h2>一、成员自有信号 · The member's own signals</h2>",
        _paragraph(
            "证明：本成员在该时间签名并将其记入日志，及其所示的后续变更。不证明：所述内容属实，或不存在其他信号。",
            "It proves that the member signed exactly this on the log at that time, and what became of it "
            "since as far as the member shows it. It does not prove that what the member says is true, nor "
            "that there are no other signals.",
        ),
        *(_signal(number, signal) for number, signal in enumerate(contents.signals, 1)),
        "" if contents.signals else "<p>无 · none</p>",
        "<h2>二、匹配 · Matches</h2>",
        _paragraph(
            "证明：系统在该时间按所列规则向本成员展示了该线索。不证明：其他机构报告的内容，或任何人有违法行为。",
            "It proves that the hub showed this match to the member at that time, by these rules. It does "
            "not prove what other institutions reported, which is not shown, nor that anybody did wrong.",
        ),
        *(_match(number, match, contents.rulebook) for number, match in enumerate(contents.matches, 1)),
        "" if contents.matches else "<p>无 · none</p>",
        "<h2>三、处置步骤 · Steps of the member's cases</h2>",
        _paragraph(
            "证明：本成员的一名责任人在该时间签名记录了该步骤。不证明：所列代码以外的理由。",
            "It proves that an officer of the member recorded this step at that time. It does not prove why "
            "beyond the code given.",
        ),
        *(_case(number, case) for number, case in enumerate(contents.cases, 1)),
        "" if contents.cases else "<p>无 · none</p>",
        _attachments(manifest),
        _foundations(contents),
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="zh-CN">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{_text(f'证据包 · Evidence package · {manifest.instrument_reference}')}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n"
    )
    return (page + "\n".join(part for part in body if part) + "\n</body>\n</html>\n").encode()


def _head(contents: Contents) -> str:
    manifest, checkpoint = contents.manifest, contents.checkpoint
    request = contents.request
    return _table(
        [
            ("提供方 · Released by", manifest.member),
            ("调取机关 · Released to", manifest.requester),
            ("法律文书 · Instrument", f"{manifest.instrument}, {manifest.instrument_reference}"),
            ("文书日期 · Issued", _day(request.statement.issued_at)),
            ("请求编号 · Request", request.statement.request_id.hex()),
            (
                "请求记入日志 · Request on the log",
                f"{_time(request.entry.header.time)}, entry {request.entry.index}",
            ),
            ("制作时间 · Made", _time(manifest.made_at)),
            ("日志 · Log", checkpoint.origin),
            ("检查点 · Checkpoint", f"{checkpoint.size} entries, root {checkpoint.root.hex()}"),
        ]
    )


def _reading() -> str:
    return (
        '<div class="notice"><p><strong>本材料仅供参考，不构成对任何人的认定。</strong> 标识符均为假名令牌；'
        "未列出的内容不得据此推断。</p><p><strong>This is information, not a verdict.</strong> Persons and "
        "merchants appear as pseudonymous tokens unless the member chose to release its own record. Nothing "
        "follows from what is not listed here: the member chose what is released. To check it without "
        "trusting anybody: <code>signalexchange evidence verify PACKAGE --genesis FILE</code>, with a trust "
        "anchor that comes from elsewhere than this package.</p></div>"
    )


def _signal(number: int, released: ReleasedSignal) -> str:
    signal, part = released.signal, released.part
    rows: list[Row] = [
        ("代码 · Code", signal.code),
        ("对象 · Subject", _token(signal.subject)),
    ]
    if signal.HasField("counterparty"):
        rows.append(("对手方 · Counterparty", _token(signal.counterparty)))
    rows += [("关联 · Also known as", _token(link)) for link in signal.links]
    rows += [
        ("金额区间 · Amount", _band(signal.amount_band)),
        ("事实时间 · Seen", f"{_time(signal.first_seen)} – {_time(signal.last_seen)}"),
        ("置信度 · Confidence (STIX)", f"{signal.confidence} / 100"),
        ("证据等级 · Grade", _name(EvidenceGrade, signal.grade, "EVIDENCE_GRADE_")),
        ("法律依据 · Legal basis", _name(LegalBasis, signal.legal_basis, "LEGAL_BASIS_")),
        ("有效期至 · Counts until", _time(signal.expires_at)),
        ("信号编号 · Signal", signal.signal_id.hex()),
        ("记入日志 · On the log", f"{_time(released.entry.header.time)}, entry {released.entry.index}"),
    ]
    if part.reference:
        rows.append(("成员内部编号 · The member's reference", part.reference))
    if part.record:
        rows.append(("成员原始记录 · The member's record", part.record.decode("utf-8", "replace")))
    changed = "".join(
        f'<p class="changed">{_CHANGES[what]}: {_text(_time(entry.header.time))}, entry {entry.index}</p>'
        for what, entry in released.changes
    )
    return f"<h3>信号 {number} · Signal {number}</h3>{changed}{_table(rows)}"


def _match(number: int, released: ReleasedMatch, rulebook: Rulebook) -> str:
    match, delivery = released.match, released.delivery
    name = _name(Pattern, match.pattern, "PATTERN_")
    rows: list[Row] = [
        ("模式 · Pattern", f"{_PATTERNS.get(name, '')} {name}"),
        ("状态 · Status", _name(MatchStatus, match.status, "MATCH_STATUS_")),
        ("独立机构数 · Independent groups", match.groups),
        ("时间跨度 · Days, others' facts", match.days),
        ("金额量级 · Total, others' facts", _digits(match.total_digits)),
        ("费用量级 · What did not come back", _digits(match.gain_digits)),
        ("建议 · Advice", _name(Action, match.advice, "ACTION_")),
        ("须人工审核 · A person must decide", "是 · yes" if match.human_review else "否 · no"),
        ("匹配编号 · Match", match.match_id.hex()),
        ("规则版本 · Rules", f"{match.rules_version}, rulebook {rulebook.version}"),
        ("向成员展示 · Shown", f"{_time(delivery.header.time)}, entry {delivery.index}"),
    ]
    rows += [
        (
            "成员已知对象 · Subject the member named",
            f"{_token(each.token)}: {_name(MatchPart, each.part, 'MATCH_PART_')}, "
            f"{_name(Action, each.advice, 'ACTION_')}",
        )
        for each in match.subjects
    ]
    rows += [("成员信号 · The member's signal", id_.hex()) for id_ in match.signal_ids]
    rows += [
        (
            "法定数额（非认定） · Threshold of the law, no verdict",
            f"{each.statute}: {_name(LegalCounter, each.counter, 'LEGAL_COUNTER_')}, "
            f"{_name(LegalLevel, each.level, 'LEGAL_LEVEL_')}: "
            f"{_name(ThresholdStanding, each.standing, 'THRESHOLD_STANDING_')}",
        )
        for each in match.thresholds
    ]
    return f"<h3>匹配 {number} · Match {number}</h3>{_table(rows)}{_derivation(match, name, rulebook)}"


def _derivation(match: Any, name: str, rulebook: Rulebook) -> str:
    """How the confidence comes about (docs/matching.md): log-odds in thousandths of a nat, added up."""
    worth = rulebook.matching.confidence
    base = getattr(worth, name, 0)
    groups = worth.group * max(0, match.groups - 2)
    rows: list[tuple[object, ...]] = [
        (f"{zh} · {factor}", en, _known(factor, base, groups, worth), _bucket(match, factor))
        for factor, (zh, en) in _FACTORS.items()
    ]
    total = "–"
    other = ""
    if match.rules_version != rulebook.matching.version:
        other = f" The match was shown under {match.rules_version}, of which this rulebook holds no numbers."
    if 0 < match.confidence < 1000:
        odds = _CONTEXT.divide(Decimal(match.confidence), Decimal(1000 - match.confidence))
        total = f"{int((odds.ln(_CONTEXT) * 1000).to_integral_value())}"
    head = ("部分 · Part", "含义 · Meaning", "权重 · Worth", "占比 · Weighs")
    return (
        f"<h3>置信度的推导 · How the confidence comes about: {match.confidence} / 1000</h3>"
        + _grid(head, rows)
        + _paragraph(
            f"置信度 = 1000 ÷ (1 + e^(−L/1000))，L 为各部分之和；此处 L ≈ {total}。",
            "The parts are log-odds in thousandths of a nat, added up to L; the confidence is 1000 ÷ (1 + "
            f"e^(−L/1000)), in permille; here L is about {total}. Pattern and groups are known exactly from "
            "the rulebook in this package; of the others a member is told only how much they weigh, so that "
            "nobody's reports can be read out of it. It is a model's probability under these rules, not a "
            f"finding.{other}",
        )
    )


def _known(factor: str, base: int, groups: int, worth: Any) -> str:
    match factor:
        case "pattern":
            return f"{base:+d}"
        case "groups":
            return f"{groups:+d}"
        case "repetition":
            return f"0 … {worth.doubling * worth.doublings:+d}"
        case "rarity":
            return f"0 … {worth.rarity:+d}"
    return "ln(factor)"


def _bucket(match: Any, factor: str) -> str:
    found = [each.contribution for each in match.factors if each.name == factor]
    return _BUCKETS.get(found[0], "–") if found else "–"


def _case(number: int, case: ReleasedCase) -> str:
    rows: list[tuple[object, ...]] = []
    subject = ""
    for statement, entry in case.steps:
        name = step_name(statement)
        detail = ""
        if name == "open":
            subject = _table([("对象 · Subject", _token(statement.open.subject))])
        elif name == "decide-proposal":
            detail = "同意 · approved" if statement.decide_proposal.approved else "不同意 · refused"
        elif name == "judge-explanation":
            good = statement.judge_explanation.satisfactory
            detail = "可以接受 · satisfactory" if good else "不能接受 · unsatisfactory"
        elif name == "decide-appeal":
            detail = "支持 · granted" if statement.decide_appeal.granted else "驳回 · rejected"
        elif name == "close":
            detail = _name(Verdict, statement.close.outcome, "VERDICT_")
        elif name == "explain":
            detail = f"期限 · until {_time(statement.action.explain_by)}"
        rows.append(
            (
                statement.sequence,
                f"{_STEPS[name]} · {name.replace('-', ' ')}{': ' * bool(detail)}{detail}",
                statement.reason,
                statement.key_id,
                _time(entry.header.time),
                entry.index,
            )
        )
    head = (
        "序 · No.",
        "步骤 · Step",
        "理由 · Reason",
        "责任人密钥 · Officer's key",
        "时间 · Time",
        "条目 · Entry",
    )
    title = f"<h3>案件 {number} · Case {number}: <code>{case.case_id.hex()}</code></h3>"
    return title + subject + _grid(head, rows)


def _attachments(manifest: Manifest) -> str:
    rows = [
        (row.name.removeprefix("attachments/"), f"{row.size:,}", row.sha256)
        for row in manifest.parts
        if row.kind == "attachment"
    ]
    if not rows:
        return ""
    return (
        "<h2>四、附件 · Attachments</h2>"
        + _paragraph(
            "附件由成员责任人选定；摘要仅证明其未被更改，不证明其内容。",
            "They are as the member's officers chose them. Their digests prove that they are unaltered, and "
            "nothing of what they say.",
        )
        + _grid(("名称 · Name", "字节 · Bytes", "SHA-256"), rows)
    )


def _foundations(contents: Contents) -> str:
    rosters: list[Row] = [
        (
            f"名册版本 · Roster version {roster.version}",
            f"{_time(roster.issued_at)}; entry {entry.index}; {len(roster.parties)} parties, "
            f"{roster.governance.quorum} of {len(roster.governance.keys)} governance keys sign the next",
        )
        for roster, _, entry in contents.rosters
    ]
    rules: Row = (
        "规则手册 · Rulebook",
        f"version {contents.rulebook.version}, SHA-256 {contents.rulebook.digest()}",
    )
    return "<h2>五、依据 · What it rests on</h2>" + _table([*rosters, rules])


def _table(rows: Iterable[Row]) -> str:
    lines = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return f"<table>{lines}</table>"


def _grid(head: Iterable[str], rows: Iterable[tuple[object, ...]]) -> str:
    lines = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    names = "".join(f"<th>{_text(name)}</th>" for name in head)
    return f'<table class="wide"><tr>{names}</tr>{lines}</table>'


def _paragraph(zh: str, en: str) -> str:
    return f'<p class="proves">{_text(zh)} {_text(en)}</p>'


def _text(value: object) -> str:
    """Escaped, control characters and marks that turn the text's direction shown as a box."""
    return escape("".join(each if each.isprintable() else "□" for each in str(value)))


def _token(token: SubjectToken) -> str:
    return f"{TYPE_NAMES.get(token.type, str(token.type))} {token.value.hex()} (epoch {token.epoch})"


def _band(band: int) -> str:
    if not 1 <= band <= MAX_BAND:
        return "– (none)" if not band else f"band {band}"
    low, high = (_CONTEXT.power(Decimal("1.1"), band - 1 + more) for more in (0, 1))
    return f"{low:,.2f} – {high:,.2f} CNY (band {band})"


def _digits(count: int) -> str:
    return f"{10 ** (count - 1):,} – {10**count:,} CNY" if 0 < count < 20 else "–"


def _time(seconds: int) -> str:
    try:
        beijing = datetime.fromtimestamp(seconds, UTC) + timedelta(hours=8)
    except (OverflowError, OSError, ValueError):
        return str(seconds)
    return f"{beijing:%Y-%m-%d %H:%M:%S} UTC+8"


def _day(seconds: int) -> str:
    return _time(seconds)[:10]


def _name(enum: Any, value: int, prefix: str) -> str:
    try:
        return str(enum.Name(value)).removeprefix(prefix).lower()
    except ValueError:
        return str(value)
