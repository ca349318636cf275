-- What law enforcement asked of a member and what became of it. `due`: when it expires (Unix seconds), 0 once it has
-- ended; scope and package are sealed and go then.
CREATE TABLE disclosures (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id BLOB NOT NULL UNIQUE,
    requester TEXT NOT NULL,
    member TEXT NOT NULL,
    state INTEGER NOT NULL,
    due INTEGER NOT NULL,
    scope BLOB,
    package BLOB
) STRICT;
CREATE INDEX disclosures_by_requester ON disclosures (requester, number);
CREATE INDEX disclosures_by_member ON disclosures (member, number);
CREATE INDEX disclosures_due ON disclosures (due) WHERE due > 0;

-- Its steps: `type` and `payload` are those of the step's two entries in the log, one of either side.
CREATE TABLE disclosure_steps (
    request_id BLOB NOT NULL,
    type INTEGER NOT NULL,
    time INTEGER NOT NULL,
    payload BLOB NOT NULL,
    requester_entry INTEGER NOT NULL,
    member_entry INTEGER NOT NULL,
    PRIMARY KEY (request_id, type)
) STRICT, WITHOUT ROWID;

CREATE TABLE disclosure_events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    member TEXT NOT NULL,
    request_id BLOB NOT NULL,
    time INTEGER NOT NULL
) STRICT;
CREATE INDEX disclosure_events_by_member ON disclosure_events (member, position);
INSERT INTO meta VALUES ('forgotten_disclosure_events', 0);
