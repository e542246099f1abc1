-- Remember cookies, by their id: also added to a file from before there were any, one statement after
-- each blank line. `begun`: when the cookie began the session `sid`.
CREATE TABLE IF NOT EXISTS remembered (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, user TEXT NOT NULL, secret TEXT NOT NULL,
    mark TEXT NOT NULL, sid TEXT NOT NULL, filed INTEGER NOT NULL, begun INTEGER,
    expires INTEGER NOT NULL
) WITHOUT ROWID

CREATE INDEX IF NOT EXISTS remembered_by_owner ON remembered (owner, expires)

CREATE INDEX IF NOT EXISTS remembered_by_expiry ON remembered (expires)
