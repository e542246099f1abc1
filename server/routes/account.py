"""My sessions and my API tokens."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, jsonify, redirect, render_template, url_for

from flask_holdfast import require_durable_session
from server.forms import TokenForm
from server.login import login_required, me
from server.middleware import wants_json
from server.models import MAX_ID, add_token, revoke_token, tokens_of
from server.routes.paging import page_of
from server.session_manager import current_sid, session_manager

if TYPE_CHECKING:
    from uuid import UUID

    from flask.typing import ResponseReturnValue

log = logging.getLogger("server.account")
blueprint = Blueprint("account", __name__, url_prefix="/account")


@blueprint.get("/sessions")
@login_required
def sessions() -> ResponseReturnValue:
    return render_template("account/sessions.html", page=page_of(me().get_id()))


@blueprint.post("/sessions/<uuid:sid>/end")
@login_required
def end_session(sid: UUID) -> ResponseReturnValue:
    # Somebody else's session answers as one that does not exist.
    data = session_manager().get_session_data(str(sid))
    if data is None or data.get("_user_id") != me().get_id():
        abort(404)
    session_manager().revoke_session(str(sid), by=me().get_id())
    flash("That session has ended.")
    return redirect(url_for("account.sessions"), 303)


@blueprint.post("/sessions/end-others")
@login_required
def end_other_sessions() -> ResponseReturnValue:
    mine = me().get_id()
    ended = session_manager().delete_user_sessions(mine, keep=current_sid(), by=mine)
    flash(f"Ended {ended} other session{'' if ended == 1 else 's'}.")
    return redirect(url_for("account.sessions"), 303)


@blueprint.get("/tokens")
@login_required
@require_durable_session
def tokens() -> ResponseReturnValue:
    return render_template("account/tokens.html", form=TokenForm(), tokens=tokens_of(me()))


@blueprint.post("/tokens")
@login_required
@require_durable_session
def create_token() -> ResponseReturnValue:
    """Make a Bearer token and show it, this once: in the answer itself, so that no session, no
    redirect and no log ever holds it.
    """
    form = TokenForm()
    if not form.validate_on_submit():
        return render_template("account/tokens.html", form=form, tokens=tokens_of(me())), 400
    lifetime = timedelta(days=form.days.data or 1)
    token, secret = add_token(me(), form.name.data or "API token", lifetime)
    log.info("user %s made API token %s", me().id, token.id)
    if wants_json():
        expiry = token.expires_at.isoformat()
        return jsonify(id=token.id, name=token.name, token=secret, expires_at=expiry), 201
    page = render_template(
        "account/tokens.html", form=TokenForm(formdata=None), tokens=tokens_of(me()), secret=secret
    )
    return page, 201


@blueprint.post(f"/tokens/<int(max={MAX_ID}):token_id>/revoke")
@login_required
@require_durable_session
def end_token(token_id: int) -> ResponseReturnValue:
    if not revoke_token(me(), token_id):
        abort(404)
    log.info("user %s revoked API token %s", me().id, token_id)
    flash("That token works no longer.")
    return redirect(url_for("account.tokens"), 303)
