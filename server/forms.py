"""The application's forms. Every one is a plain FlaskForm; its token is the extension's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_login import current_user
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    Field,
    IntegerField,
    PasswordField,
    StringField,
    TextAreaField,
    ValidationError,
)
from wtforms.validators import DataRequired, Email, EqualTo, Length, NumberRange, Optional, Regexp

from server import passwords

if TYPE_CHECKING:
    from collections.abc import Callable

NOTE_LENGTH = 2000
MAX_TOKEN_DAYS = 365

USERNAME = (
    DataRequired("Choose a username."),
    Length(3, 32, "A username has 3 to 32 characters."),
    Regexp(
        r"[A-Za-z0-9][A-Za-z0-9._-]*\Z",
        message="Use letters, digits, dots, dashes and underscores; begin with a letter or digit.",
    ),
)
NEW_PASSWORD = (
    DataRequired("Choose a password."),
    Length(
        passwords.MIN_LENGTH,
        passwords.MAX_LENGTH,
        "A password has %(min)d to %(max)d characters.",
    ),
)


def stripped(value: str | None) -> str | None:
    return value.strip() if value else value


def said(field: Field) -> str:
    """What was typed into *field*; empty where nothing was sent."""
    return field.data or ""


def refuse(field: Field, reason: str) -> None:
    """Say at *field* what only the view could find wrong with it."""
    field.errors = [*field.errors, reason]


def storable(form: FlaskForm, field: Field) -> None:
    """Refuse text that UTF-8 or a page cannot hold: lone surrogates and NUL."""
    del form
    if not is_storable(said(field)):
        raise ValidationError("This text holds characters that cannot be kept.")


def is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def strong_for(username: Callable[[FlaskForm], str]) -> Callable[[FlaskForm, Field], None]:
    """A validator that refuses a password that anybody would try for this username."""

    def check(form: FlaskForm, field: Field) -> None:
        if reason := passwords.weakness(said(field), username(form)):
            raise ValidationError(reason)

    return check


class RegisterForm(FlaskForm):
    username = StringField(
        "Username",
        [*USERNAME],
        filters=[stripped],
        render_kw={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"},
    )
    email = StringField(
        "E-mail",
        [
            DataRequired("Give an e-mail address."),
            Length(max=254),
            Email("This is not an e-mail address."),
        ],
        filters=[stripped],
        render_kw={"type": "email", "autocomplete": "email"},
    )
    password = PasswordField(
        "Password",
        [*NEW_PASSWORD, strong_for(lambda form: said(form.username))],
        description=f"At least {passwords.MIN_LENGTH} characters. A few words make a good one.",
        render_kw={"autocomplete": "new-password"},
    )
    confirm_password = PasswordField(
        "Password again",
        [EqualTo("password", "The two passwords differ.")],
        render_kw={"autocomplete": "new-password", "required": True},
    )


class LoginForm(FlaskForm):
    # No hint here says what a valid name or password looks like: both are right or they are not.
    username = StringField(
        "Username",
        [DataRequired("Give your username."), Length(max=64)],
        filters=[stripped],
        render_kw={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"},
    )
    password = PasswordField(
        "Password",
        [DataRequired("Give your password."), Length(max=passwords.MAX_LENGTH)],
        render_kw={"autocomplete": "current-password"},
    )
    remember = BooleanField("Remember me on this device")


class ChangePasswordForm(FlaskForm):
    current_password = PasswordField(
        "Current password",
        [DataRequired("Give your current password."), Length(max=passwords.MAX_LENGTH)],
        render_kw={"autocomplete": "current-password"},
    )
    new_password = PasswordField(
        "New password",
        [*NEW_PASSWORD, strong_for(lambda _: current_user.username)],
        description=f"At least {passwords.MIN_LENGTH} characters. A few words make a good one.",
        render_kw={"autocomplete": "new-password"},
    )
    confirm_password = PasswordField(
        "New password again",
        [EqualTo("new_password", "The two passwords differ.")],
        render_kw={"autocomplete": "new-password", "required": True},
    )


class NoteForm(FlaskForm):
    text = TextAreaField(
        "Note",
        [
            DataRequired("Write something first."),
            Length(max=NOTE_LENGTH, message="A note has at most %(max)d characters."),
            storable,
        ],
        filters=[stripped],
        render_kw={"rows": "3"},
    )


class TokenForm(FlaskForm):
    name = StringField(
        "Name",
        [Optional(), Length(max=64), storable],
        default="API token",
        filters=[stripped],
        description="So that you know it again: what will use this token?",
    )
    days = IntegerField(
        "Valid for how many days",
        [NumberRange(1, MAX_TOKEN_DAYS, "Give a number of days from %(min)d to %(max)d.")],
        default=30,
    )
