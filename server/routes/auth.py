"""Accounts: make one, sign in, sign out, change the password.

The session needs no care here. The extension sees Flask-Login sign somebody in or out, and
gives the session a new id and secret, files it under its user, and ends the old one.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

from flask import (
    Blueprint,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_login import current_user, login_user, logout_user

from flask_holdfast import require_durable_session
from flask_holdfast.exceptions import StoreUnavailable, printable
from server.ended import ended_session, new_password
from server.forms import ChangePasswordForm, LoginForm, RegisterForm, refuse, said
from server.login import login_required, me, safe_target
from server.models import (
    UsernameTaken,
    add_user,
    authenticate,
    set_password,
    set_password_hash,
)
from server.passwords import check_password
from server.security.headers import signed_out
from server.session_manager import current_sid, session_manager

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from server.models import User

log = logging.getLogger("server.auth")
blueprint = Blueprint("auth", __name__, url_prefix="/auth")


@blueprint.route("/register", methods=["GET", "POST"])
def register() -> ResponseReturnValue:
    form = RegisterForm()
    if form.validate_on_submit():
        try:
            user = add_user(said(form.username), said(form.email), said(form.password))
        except UsernameTaken:
            refuse(form.username, "This username is taken.")
        else:
            log.info("registered user %s", user.id)
            login_user(user)
            return redirect(url_for("pages.dashboard"), 303)
    return render_template("auth/register.html", form=form), 400 if form.errors else 200


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    target = safe_target(request.args.get("next"))
    if request.method in {"GET", "HEAD"} and current_user.is_authenticated:
        return redirect(target or url_for("pages.dashboard"))
    form = LoginForm()
    status = 200
    ended = ended_session() if request.method == "GET" else None
    if form.validate_on_submit():
        user = authenticate(said(form.username), said(form.password))
        if user is not None:
            log.info("signed in user %s", user.id)
            login_user(user, remember=form.remember.data)
            return redirect(target or url_for("pages.dashboard"), 303)
        # One sentence and one status for an unknown name and a wrong password.
        log.warning("sign-in refused, client %s", printable(request.remote_addr or "unknown"))
        form.form_errors.append("Username or password is not right.")
        status = 401
    elif form.errors:
        status = 400
    return render_template("auth/login.html", form=form, target=target, ended=ended), status


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    logout_user()
    session.clear()
    return signed_out(make_response(redirect(url_for("pages.welcome"), 303)))


@blueprint.route("/change-password", methods=["GET", "POST"])
@login_required
@require_durable_session
def change_password() -> ResponseReturnValue:
    """A new password ends every other session of this user: whoever knew the old one is out."""
    user = me()
    form = ChangePasswordForm()
    if form.validate_on_submit():
        known = check_password(user.password_hash, said(form.current_password))
        if known and give_password(user, said(form.new_password)):
            # Theirs has ended as well: so has a copy of its cookie, whatever becomes of this
            # answer.
            login_user(user)
            log.info("changed the password of user %s", user.id)
            flash("Your password is changed, and your other sessions have ended.")
            return redirect(url_for("account.sessions"), 303)
        refuse(form.current_password, "This is not your current password.")
    return render_template("auth/change_password.html", form=form), 400 if form.errors else 200


def give_password(user: User, password: str) -> bool:
    """Change the password of *user*, and end all of their sessions. False, with the password
    unchanged, where another request has changed it meanwhile.

    The session store and the database are two, and either may fail after the other has done its
    part. So sessions end before: where that is not certain, the password stays as it was. And they
    end after, as whoever knows the old one may have signed in between: where that is not certain,
    the old one is put back. Raises `StoreUnavailable` in both cases.
    """
    before, why = user.password_hash, new_password(user)
    end_all = functools.partial(session_manager().delete_user_sessions, user.id, by=why)
    end_all(keep=current_sid())
    if not set_password(user, password):
        return False
    try:
        end_all()
    except StoreUnavailable:
        set_password_hash(user, before)
        raise
    return True
