-- Documents are JSON of aiops.model values; the columns beside them are what is searched by.

CREATE TABLE alerts (
    fingerprint TEXT PRIMARY KEY,
    document    TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE incidents (
    id           TEXT PRIMARY KEY,
    state        TEXT NOT NULL,
    service      TEXT NOT NULL,
    opened_at_s  REAL NOT NULL,
    first_bad_s  REAL NOT NULL,
    updated_at_s REAL NOT NULL,
    summary      TEXT NOT NULL,  -- the document without charts and templates: a list must not read megabytes
    document     TEXT NOT NULL
);
CREATE INDEX incidents_by_opening ON incidents (opened_at_s);
CREATE INDEX incidents_open ON incidents (opened_at_s) WHERE state = 'open';

-- One subject's notifications to one receiver leave in the order of `id`.
CREATE TABLE outbox (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    key           TEXT NOT NULL UNIQUE,
    subject       TEXT NOT NULL,
    receiver      TEXT NOT NULL,
    created_at_s  REAL NOT NULL,
    due_at_s      REAL NOT NULL DEFAULT 0,
    lease_until_s REAL NOT NULL DEFAULT 0,
    attempts      INTEGER NOT NULL DEFAULT 0,
    last_error    TEXT NOT NULL DEFAULT '',
    state         TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'dead')),
    done_at_s     REAL,
    message       TEXT NOT NULL
);
CREATE INDEX outbox_waiting ON outbox (subject, receiver, id) WHERE state = 'waiting';
CREATE INDEX outbox_done ON outbox (state, done_at_s) WHERE state <> 'waiting';

CREATE TABLE events (
    id       TEXT PRIMARY KEY,  -- hash of the document: an event offered to the disk twice is one event
    kind     TEXT NOT NULL,
    at_s     REAL NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX events_by_time ON events (at_s);

CREATE TABLE checkpoints (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE series (
    id     INTEGER PRIMARY KEY,
    metric TEXT NOT NULL,
    labels TEXT NOT NULL,  -- JSON object, names sorted
    UNIQUE (metric, labels)
);

-- By minute first: a minute's rows then share a few pages, where by series first each row would dirty its own;
-- for the same reason there is no index by series, and unused series are swept by the purge instead of a foreign key.
CREATE TABLE rollups (
    minute    INTEGER NOT NULL,  -- minutes since the epoch
    series_id INTEGER NOT NULL,
    min       REAL NOT NULL,
    max       REAL NOT NULL,
    mean      REAL NOT NULL,
    last      REAL NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (minute, series_id)
) WITHOUT ROWID;

CREATE VIEW history AS
SELECT series.metric, series.labels, rollups.minute, rollups.min, rollups.max, rollups.mean, rollups.last, rollups.count
FROM rollups JOIN series ON series.id = rollups.series_id;
