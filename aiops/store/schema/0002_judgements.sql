-- What people said of answers. Beside the incidents, which are purged: priors are counted from years.

CREATE TABLE judgements (
    incident_id TEXT PRIMARY KEY,
    document    TEXT NOT NULL
) WITHOUT ROWID;
