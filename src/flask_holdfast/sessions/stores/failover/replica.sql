-- What a replica has beside the tables of the SQLite store, one statement after each blank line.

-- Sessions as the store had them when this host saw them last, at `seen`. `noted`: when that was
-- written down (ns, by the monotonic clock). `was`: the etag that they had before. `lost`: the
-- server that had it lost its data since then.
CREATE TABLE IF NOT EXISTS copies (
    sid TEXT PRIMARY KEY, owner TEXT NOT NULL, expires INTEGER NOT NULL, seen INTEGER NOT NULL,
    noted INTEGER NOT NULL, was TEXT NOT NULL, lost INTEGER NOT NULL, data BLOB NOT NULL
)

CREATE INDEX IF NOT EXISTS copies_by_owner ON copies (owner)

CREATE INDEX IF NOT EXISTS copies_by_age ON copies (seen)

CREATE INDEX IF NOT EXISTS copies_lost ON copies (seen) WHERE lost

-- The journals of copies that belong to this file: those of a file that was deleted do not, as what
-- it knew to have ended is not known any more.
CREATE TABLE IF NOT EXISTS journals (tag TEXT PRIMARY KEY) WITHOUT ROWID

-- The session that did not end with all of an owner's, or with everyone's (`kind` and `name` as in
-- moments), when they ended last. A copy of it is believed that was asked for after `since`.
CREATE TABLE IF NOT EXISTS spared (
    kind TEXT, name TEXT, sid TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID

-- When sessions began here that the store does not know.
CREATE TABLE IF NOT EXISTS begun (sid TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID

-- Sessions that began here as others, which the store knew, were rotated: of which one (`root`), and
-- when that was seen last.
CREATE TABLE IF NOT EXISTS heirs (
    sid TEXT PRIMARY KEY, root TEXT NOT NULL, seen INTEGER NOT NULL
) WITHOUT ROWID

-- `owed`: the store does not know of it yet. `run`: the last server that it was told again.
CREATE TABLE IF NOT EXISTS endings (
    number INTEGER PRIMARY KEY, at INTEGER NOT NULL, owed INTEGER NOT NULL,
    run TEXT NOT NULL DEFAULT '', sid TEXT NOT NULL, ending BLOB NOT NULL
)

CREATE INDEX IF NOT EXISTS endings_owed ON endings (number) WHERE owed

CREATE INDEX IF NOT EXISTS endings_owed_by_name ON endings (sid) WHERE owed

CREATE INDEX IF NOT EXISTS endings_by_age ON endings (at)

-- By tag: the marker of its data, the run that knows what has ended, and when it lost its data.
CREATE TABLE IF NOT EXISTS servers (
    tag TEXT PRIMARY KEY, marker TEXT NOT NULL, run TEXT NOT NULL, lost_at INTEGER NOT NULL
) WITHOUT ROWID

CREATE TABLE IF NOT EXISTS host (
    one INTEGER PRIMARY KEY CHECK (one = 1), state INTEGER NOT NULL
)

INSERT OR IGNORE INTO host (one, state) VALUES (1, 0)
