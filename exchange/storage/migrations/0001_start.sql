-- Entry, openings and payload share a row: one append for each. No secondary index: access records are many and
-- looked for only by scanning from a position on. `shown` is above 0 where the entry says a member was shown subjects.
CREATE TABLE entries (
    idx INTEGER PRIMARY KEY,
    type INTEGER NOT NULL,
    member TEXT NOT NULL,
    time INTEGER NOT NULL,
    shown INTEGER NOT NULL,
    leaf BLOB NOT NULL,
    header BLOB NOT NULL,
    header_opening BLOB NOT NULL,
    payload BLOB,
    payload_opening BLOB
) STRICT;

-- Complete tiles of 256 hashes only (C2SP tlog-tiles).
CREATE TABLE tiles (
    level INTEGER NOT NULL,
    n INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, n)
) STRICT, WITHOUT ROWID;

-- place = entry * 1024 + position. Tombstones keep place, id, issuer, code and status; their token, nonce and body are NULL.
CREATE TABLE signals (
    place INTEGER PRIMARY KEY,
    signal_id BLOB NOT NULL UNIQUE,
    issuer TEXT NOT NULL,
    token BLOB,
    type INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    code TEXT NOT NULL,
    audience INTEGER NOT NULL,
    confidence INTEGER NOT NULL,
    grade INTEGER NOT NULL,
    tlp INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    status INTEGER NOT NULL DEFAULT 0,
    nonce BLOB,
    body BLOB
) STRICT;
CREATE INDEX signals_by_token ON signals (token, issuer, expires_at) WHERE status = 0;

-- Both ways round: whoever asks for `token` finds the issuer's signals on `subject`. Audience and tlp are the
-- linking signal's, and hold for what is found through it.
CREATE TABLE links (
    token BLOB NOT NULL,
    type INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    subject BLOB NOT NULL,
    issuer TEXT NOT NULL,
    audience INTEGER NOT NULL,
    tlp INTEGER NOT NULL,
    place INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (token, issuer, subject, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_by_place ON links (place);

CREATE TABLE batches (
    member TEXT NOT NULL,
    batch_id BLOB NOT NULL,
    root BLOB NOT NULL,
    entry INTEGER NOT NULL,
    next_expiry INTEGER,
    PRIMARY KEY (member, batch_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX batches_by_expiry ON batches (next_expiry, entry) WHERE next_expiry IS NOT NULL;

CREATE TABLE orders (
    member TEXT NOT NULL,
    order_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (member, order_id)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: a position is never used twice, even after old events are gone.
CREATE TABLE events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    member TEXT NOT NULL,
    signal_id BLOB NOT NULL,
    change INTEGER NOT NULL,
    own INTEGER NOT NULL,
    type INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    token BLOB,
    time INTEGER NOT NULL
) STRICT;
CREATE INDEX events_by_member ON events (member, position);

CREATE TABLE subscriptions (
    token BLOB NOT NULL,
    member TEXT NOT NULL,
    type INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (token, member)
) STRICT, WITHOUT ROWID;
CREATE INDEX subscriptions_by_member ON subscriptions (member);

CREATE TABLE rosters (
    version INTEGER PRIMARY KEY,
    note BLOB NOT NULL,
    rulebook BLOB NOT NULL,
    entry INTEGER NOT NULL
) STRICT;

CREATE TABLE suspensions (
    member TEXT PRIMARY KEY,
    entry INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- forgotten_events: position up to which events are gone. forgotten_access: index below which access records are.
-- And the secrets of this database.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('forgotten_events', 0), ('forgotten_access', 0);
