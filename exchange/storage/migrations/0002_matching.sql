-- What the rulebook said of a signal's code when it came: its role in matching, and whether look-ups find it. `echo`
-- says that its issuer's group had been shown a hit on its subject or counterparty shortly before. What look-ups
-- don't find is in no index by token: an account with a hundred thousand legs costs them nothing.
ALTER TABLE signals ADD COLUMN role INTEGER NOT NULL DEFAULT 0;
ALTER TABLE signals ADD COLUMN searched INTEGER NOT NULL DEFAULT 1;
ALTER TABLE signals ADD COLUMN echo INTEGER NOT NULL DEFAULT 0;
DROP INDEX signals_by_token;
CREATE INDEX signals_by_token ON signals (token, issuer, expires_at) WHERE status = 0 AND searched = 1;
CREATE INDEX signals_for_matching ON signals (place) WHERE status = 0 AND role > 0;

-- The last day (Unix seconds / 86,400) on which a group was shown something about a token.
CREATE TABLE shown (
    token BLOB NOT NULL,
    grp TEXT NOT NULL,
    day INTEGER NOT NULL,
    PRIMARY KEY (token, grp)
) STRICT, WITHOUT ROWID;

-- Numbers grow with time, so that lists go on where a page ended. `reported` is 1 once anybody was told.
CREATE TABLE matches (
    number INTEGER PRIMARY KEY,
    match_id BLOB NOT NULL UNIQUE,
    pattern INTEGER NOT NULL,
    status INTEGER NOT NULL,
    found_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    verdicts BLOB NOT NULL,
    reported INTEGER NOT NULL
) STRICT;

-- The body holds tokens: it goes with the first signal it stands on that goes.
CREATE TABLE match_instances (
    number INTEGER NOT NULL,
    key BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (number, key)
) STRICT, WITHOUT ROWID;

-- The digest of the match as a member was last shown it.
CREATE TABLE match_views (
    member TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (member, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX match_views_by_match ON match_views (number);

CREATE TABLE match_events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    member TEXT NOT NULL,
    number INTEGER NOT NULL,
    time INTEGER NOT NULL
) STRICT;
CREATE INDEX match_events_by_member ON match_events (member, position);

-- Hypotheses that were withdrawn, and until when they can't be put up again.
CREATE TABLE spent (
    key BLOB PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- matched_to: matching has taken every entry below this index into account.
INSERT INTO meta VALUES ('forgotten_match_events', 0), ('matched_to', 0);
