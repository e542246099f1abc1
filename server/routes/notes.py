"""Notes from a form: what the dashboard posts, with or without JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, redirect, render_template, url_for

from server.forms import NoteForm, said
from server.login import login_required, me
from server.models import add_note, latest_notes

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

blueprint = Blueprint("notes", __name__)


@blueprint.post("/notes")
@login_required
def create() -> ResponseReturnValue:
    form = NoteForm()
    if not form.validate_on_submit():
        return render_template("dashboard.html", form=form, notes=latest_notes(me())), 400
    add_note(me(), said(form.text))
    return redirect(url_for("pages.dashboard"), 303)
