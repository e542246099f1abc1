-- The tables of the SQLite store, one statement after each blank line. A change of them is
-- another version (`user_version`), and files of an earlier one are refused.

CREATE TABLE sessions (
    sid TEXT PRIMARY KEY, owner TEXT NOT NULL, expires INTEGER NOT NULL, data BLOB NOT NULL
)

CREATE INDEX sessions_by_owner ON sessions (owner, expires)

CREATE INDEX sessions_by_expiry ON sessions (expires)

CREATE TABLE tombstones (
    sid TEXT PRIMARY KEY, expires INTEGER NOT NULL, why TEXT NOT NULL, at INTEGER NOT NULL, by TEXT,
    successor TEXT
) WITHOUT ROWID

CREATE INDEX tombstones_by_expiry ON tombstones (expires)

CREATE TABLE moments (
    kind TEXT, name TEXT, at INTEGER NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID

CREATE INDEX moments_by_expiry ON moments (expires)

CREATE TABLE owners (owner TEXT PRIMARY KEY, sessions INTEGER NOT NULL) WITHOUT ROWID

-- Kept by triggers, because counting rows takes longer the more there are.
CREATE TABLE totals (signed_in INTEGER, anonymous INTEGER, users INTEGER)

INSERT INTO totals VALUES (0, 0, 0)

CREATE TRIGGER anonymous_filed AFTER INSERT ON sessions WHEN NEW.owner = '' BEGIN
    UPDATE totals SET anonymous = anonymous + 1;
END

CREATE TRIGGER anonymous_removed AFTER DELETE ON sessions WHEN OLD.owner = '' BEGIN
    UPDATE totals SET anonymous = anonymous - 1;
END

CREATE TRIGGER signed_in_filed AFTER INSERT ON sessions WHEN NEW.owner <> '' BEGIN
    UPDATE totals SET signed_in = signed_in + 1;
    INSERT OR IGNORE INTO owners VALUES (NEW.owner, 0);
    UPDATE owners SET sessions = sessions + 1 WHERE owner = NEW.owner;
END

CREATE TRIGGER signed_in_removed AFTER DELETE ON sessions WHEN OLD.owner <> '' BEGIN
    UPDATE totals SET signed_in = signed_in - 1;
    UPDATE owners SET sessions = sessions - 1 WHERE owner = OLD.owner;
    DELETE FROM owners WHERE owner = OLD.owner AND sessions = 0;
END

CREATE TRIGGER user_came AFTER INSERT ON owners BEGIN
    UPDATE totals SET users = users + 1;
END

CREATE TRIGGER user_left AFTER DELETE ON owners BEGIN
    UPDATE totals SET users = users - 1;
END
