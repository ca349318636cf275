-- Until when (Unix seconds) the dispute of a signal caps advice; 0 where nobody disputes it or its issuer has answered.
ALTER TABLE signals ADD COLUMN disputed_until INTEGER NOT NULL DEFAULT 0;

-- Who was told of which signal: it may say what became of it. From the deliveries on the log, where 52 bytes are the
-- token behind its tag and length, and the signal's id behind those.
CREATE TABLE deliveries (
    place INTEGER NOT NULL,
    member TEXT NOT NULL,
    PRIMARY KEY (place, member)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO deliveries
    SELECT s.place, e.member FROM entries e JOIN signals s ON s.signal_id = substr(e.payload, 37, 16)
    WHERE e.type = 7 AND length(e.payload) = 52;

CREATE TABLE reports (
    member TEXT NOT NULL,
    report_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (member, report_id)
) STRICT, WITHOUT ROWID;

-- One verdict of a controlling group on a signal (is_match 0) or a match (1). `entry` is the report's.
CREATE TABLE verdicts (
    is_match INTEGER NOT NULL,
    about BLOB NOT NULL,
    grp TEXT NOT NULL,
    verdict INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (about, is_match, grp)
) STRICT, WITHOUT ROWID;
CREATE INDEX verdicts_on_matches ON verdicts (entry) WHERE is_match = 1;

-- Added up for reliability: what is erased of a signal doesn't change what was found of its issuer.
CREATE TABLE tallies (
    issuer TEXT NOT NULL,
    code TEXT NOT NULL,
    reporter TEXT NOT NULL,
    confirmed INTEGER NOT NULL,
    refuted INTEGER NOT NULL,
    PRIMARY KEY (issuer, code, reporter)
) STRICT, WITHOUT ROWID;
