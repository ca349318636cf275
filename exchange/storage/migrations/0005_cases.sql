-- Index of the entry that records the event as a correction; 0 for none.
ALTER TABLE events ADD COLUMN correction INTEGER NOT NULL DEFAULT 0;

-- Corrections that were acknowledged, by the index of each one's entry; `entry` is the acknowledgement's.
CREATE TABLE acknowledged (
    correction INTEGER PRIMARY KEY,
    entry INTEGER NOT NULL
) STRICT;

-- Until when (Unix seconds) undecided appeals dispute a signal: the last of `appeals`; 0 where there is none.
ALTER TABLE signals ADD COLUMN appealed_until INTEGER NOT NULL DEFAULT 0;
CREATE INDEX signals_appealed ON signals (place) WHERE appealed_until > 0;

-- A member's proceeding in a case, as far as lists, terms and publishing need it: where it stands is folded from its steps.
-- `due` is the earliest deadline that was not told, `expires_at` when its content goes, both NULL for none; `sanction` the
-- Action that was closed as confirmed and is in force. One that was erased keeps case_id and member: it begins no second
-- time.
CREATE TABLE proceedings (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    case_id BLOB NOT NULL,
    member TEXT NOT NULL,
    match_id BLOB NOT NULL,
    token BLOB NOT NULL,
    type INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    unfinished INTEGER NOT NULL,
    appealed INTEGER NOT NULL,
    sanction INTEGER NOT NULL,
    due INTEGER,
    expires_at INTEGER,
    UNIQUE (case_id, member)
) STRICT;
CREATE INDEX proceedings_by_member ON proceedings (member, number);
CREATE INDEX proceedings_by_due ON proceedings (due) WHERE due IS NOT NULL;
CREATE INDEX proceedings_by_expiry ON proceedings (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX proceedings_by_token ON proceedings (token, member) WHERE sanction > 0;

-- A step's statement and signature are in its entry's payload.
CREATE TABLE case_steps (
    case_id BLOB NOT NULL,
    member TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    digest BLOB NOT NULL,
    officer TEXT NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (case_id, member, sequence)
) STRICT, WITHOUT ROWID;

-- Deadlines of which the log says that they passed.
CREATE TABLE case_deadlines (
    case_id BLOB NOT NULL,
    member TEXT NOT NULL,
    due INTEGER NOT NULL,
    what TEXT NOT NULL,
    PRIMARY KEY (case_id, member, due, what)
) STRICT, WITHOUT ROWID;

-- Signals that an undecided appeal in a proceeding disputes, and until when.
CREATE TABLE appeals (
    case_id BLOB NOT NULL,
    member TEXT NOT NULL,
    place INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (case_id, member, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX appeals_by_place ON appeals (place);

-- Digests of a controlling group and a subject of which its appeals disputed signals: `until` when they do at most, and
-- when they may `again` (Unix seconds).
CREATE TABLE appeal_times (
    digest BLOB PRIMARY KEY,
    until INTEGER NOT NULL,
    again INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE case_events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    member TEXT NOT NULL,
    case_id BLOB NOT NULL,
    time INTEGER NOT NULL
) STRICT;
CREATE INDEX case_events_by_member ON case_events (member, position);

CREATE TABLE case_orders (
    member TEXT NOT NULL,
    order_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (member, order_id)
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('forgotten_case_events', 0);
