"""What the application keeps in its own database: accounts, notes, API tokens."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flask import current_app, g
from flask_login import UserMixin
from sqlalchemy import (
    DateTime,
    ForeignKey,
    Index,
    String,
    Text,
    TypeDecorator,
    create_engine,
    event,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

from flask_holdfast.exceptions import SettingError, printable
from server import config, passwords

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy import CursorResult, Dialect, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

EXTENSION = "server.database"
# The largest number that a row id can be; a larger one in an address names nothing.
MAX_ID = 2**63 - 1
TOKEN_PREFIX = "hf_"  # noqa: S105 - it lets scanners recognise a leaked token; no secret itself


class UsernameTaken(Exception):
    """Another account has this name, in whatever case it is written."""


class UtcTime(TypeDecorator[datetime]):
    """SQLite keeps no time zone: everything goes in as UTC and comes out saying so."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        return value and value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    pass


class User(UserMixin, Base):
    """An account. `name_key` is the name as it is compared: `Ada` and `ada` are one account.

    The e-mail address is nobody's key: it is not verified, so it proves nothing, and a refusal
    of one that is in use would tell a stranger who has an account here.
    """

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(32))
    name_key: Mapped[str] = mapped_column(String(32), unique=True)
    email: Mapped[str] = mapped_column(String(254))
    password_hash: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=lambda: datetime.now(UTC))


class Note(Base):
    __tablename__ = "notes"
    __table_args__ = (Index("notes_by_user", "user_id", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=lambda: datetime.now(UTC))


class ApiToken(Base):
    """A Bearer token: its SHA-256 only. 256 random bits need no slow hash and no salt."""

    __tablename__ = "api_tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=lambda: datetime.now(UTC))
    expires_at: Mapped[datetime] = mapped_column(UtcTime)


def open_database(app: Flask) -> None:
    """Open `DATABASE_URL` (by default a file in the instance folder, mode 0600) for *app*.

    Makes the tables where they are missing; several processes may do so at the same moment.
    Raises `SettingError` for a database that cannot be opened.
    """
    try:
        engine = create_engine(app.config.get("DATABASE_URL") or _own_file(app.instance_path))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _enforce_foreign_keys)
        _make_tables(engine)
    except (SQLAlchemyError, OSError, ImportError) as error:
        # The address may hold a password, and so may what SQLAlchemy says of it.
        reason = error.orig if isinstance(error, DBAPIError) else type(error).__name__
        fix = f"give the address of a database that can be opened ({printable(reason)})"
        raise SettingError("DATABASE_URL", "(not shown)", fix) from None
    # A server that forks its workers after this line must not share one connection among them.
    engine.dispose()
    app.extensions[EXTENSION] = engine
    app.teardown_appcontext(_close_session)


def _own_file(folder: str) -> str:
    """The address of the application's own SQLite file, made here for nobody else to read."""
    path = Path(folder) / "server.sqlite"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise config.unusable_folder(folder, error) from None
    return f"sqlite:///{path}"


def _enforce_foreign_keys(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    del entry
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _make_tables(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(CreateIndex(index, if_not_exists=True))


def _close_session(error: BaseException | None) -> None:
    del error
    opened = cast("Session | None", g.pop("database_session", None))
    if opened is not None:
        opened.close()


def database() -> Session:
    """The database session of this request; closed with it, rolled back unless committed."""
    if "database_session" not in g:
        engine = cast("Engine", current_app.extensions[EXTENSION])
        g.database_session = Session(engine, expire_on_commit=False)
    return cast("Session", g.database_session)


def name_key(username: str) -> str:
    return username.casefold()


def find_user(username: str) -> User | None:
    return database().scalar(select(User).where(User.name_key == name_key(username)))


def add_user(username: str, email: str, password: str, *, is_admin: bool = False) -> User:
    """Make an account. Raises `UsernameTaken`, also where another process was first."""
    user = User(
        username=username,
        name_key=name_key(username),
        email=email,
        password_hash=passwords.hash_password(password),
        is_admin=is_admin,
    )
    database().add(user)
    try:
        database().commit()
    except IntegrityError:
        database().rollback()
        raise UsernameTaken from None
    return user


def authenticate(username: str, password: str) -> User | None:
    """The account of this name and password. The answer takes equally long for unknown names."""
    user = find_user(username)
    if not passwords.check_password(user and user.password_hash, password) or user is None:
        return None
    if passwords.is_outdated(user.password_hash):
        set_password(user, password)
    return user


def set_password(user: User, password: str) -> bool:
    """Give the account of *user* another password. False, with nothing changed, where it has
    another by now than *user* was read with: a sign-in whose old password is hashed anew must not
    undo a change that was made meanwhile.
    """
    return set_password_hash(user, passwords.hash_password(password))


def set_password_hash(user: User, password_hash: str) -> bool:
    """The same with what `set_password` keeps."""
    as_read = User.id == user.id, User.password_hash == user.password_hash
    change = update(User).where(*as_read).values(password_hash=password_hash)
    changed = cast("CursorResult[Any]", database().execute(change)).rowcount == 1
    database().commit()
    return changed


def add_note(user: User, text: str) -> Note:
    note = Note(user_id=user.id, text=text)
    database().add(note)
    database().commit()
    return note


def latest_notes(user: User, limit: int = 100) -> list[Note]:
    """The notes of *user*, newest first."""
    mine = select(Note).where(Note.user_id == user.id)
    return list(database().scalars(mine.order_by(Note.id.desc()).limit(limit)))


def digest(token: str) -> str:
    # A header may hold any bytes; what is no text is simply not a token of ours.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def add_token(user: User, name: str, lifetime: timedelta) -> tuple[ApiToken, str]:
    """Make a Bearer token; the second value is the token, which nothing can show again."""
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(
        user_id=user.id,
        name=name,
        digest=digest(secret),
        expires_at=datetime.now(UTC) + lifetime,
    )
    database().add(token)
    database().commit()
    return token, secret


def tokens_of(user: User) -> list[ApiToken]:
    mine = select(ApiToken).where(ApiToken.user_id == user.id)
    return list(database().scalars(mine.order_by(ApiToken.id.desc())))


def revoke_token(user: User, token_id: int) -> bool:
    """Delete the token if it is one of *user*'s; False where it is not."""
    token = database().get(ApiToken, token_id)
    if token is None or token.user_id != user.id:
        return False
    database().delete(token)
    database().commit()
    return True


def user_of_token(token: str) -> User | None:
    """Who the Bearer *token* speaks for; None where it is unknown, revoked or expired."""
    found = database().scalar(select(ApiToken).where(ApiToken.digest == digest(token)))
    if found is None or found.expires_at <= datetime.now(UTC):
        return None
    return database().get(User, found.user_id)


def usernames(user_ids: set[str]) -> dict[str, str]:
    """The names behind these ids, for pages; an id that is no account of ours is left out."""
    numbers = [int(user_id) for user_id in user_ids if user_id.isdecimal()]
    rows = database().execute(select(User.id, User.username).where(User.id.in_(numbers)))
    return {str(user_id): username for user_id, username in rows}
