-- learned: version of the learned parameters, those of the newest ModelEntry on the log. 0 with tallies is a database that
-- is older than versions: version 1 is made of them at the next start.
INSERT INTO meta VALUES ('learned', 0);
