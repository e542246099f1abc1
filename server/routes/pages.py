"""The pages that lead to the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, redirect, render_template, url_for
from flask_login import current_user

from server.forms import NoteForm
from server.login import login_required, me
from server.models import latest_notes

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> ResponseReturnValue:
    known = current_user.is_authenticated
    return redirect(url_for("pages.dashboard" if known else "pages.welcome"))


@blueprint.get("/welcome")
def welcome() -> ResponseReturnValue:
    """The same for everybody: it never asks for the session, so it costs the store nothing."""
    return render_template("welcome.html")


@blueprint.get("/dashboard")
@login_required
def dashboard() -> ResponseReturnValue:
    return render_template("dashboard.html", form=NoteForm(), notes=latest_notes(me()))
