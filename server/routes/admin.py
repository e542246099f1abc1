"""For administrators: whose sessions live, and an end to any of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, render_template, request, url_for

from server.login import admin_required, me
from server.models import MAX_ID, find_user, usernames
from server.routes.paging import Page, page_number, page_of
from server.session_manager import current_sid, session_manager

if TYPE_CHECKING:
    from uuid import UUID

    from flask.typing import ResponseReturnValue

log = logging.getLogger("server.admin")
blueprint = Blueprint("admin", __name__, url_prefix="/admin")


@blueprint.get("/sessions")
@admin_required
def sessions() -> ResponseReturnValue:
    wanted = request.args.get("user", "").strip()
    user = find_user(wanted) if wanted else None
    if wanted and user is None:
        page = Page(1, [], has_next=False)
    else:
        page = page_of(page_number(), user_id=user.get_id() if user else None)
    return render_template(
        "admin/sessions.html",
        page=page,
        wanted=wanted,
        user=user,
        names=usernames({info.user_id for info in page.sessions if info.user_id}),
        stats=session_manager().get_session_stats(),
        current=current_sid(),
    )


@blueprint.post("/sessions/<uuid:sid>/end")
@admin_required
def end_session(sid: UUID) -> ResponseReturnValue:
    ended = session_manager().revoke_session(str(sid), by=me().get_id())
    log.info("administrator %s ended session %s", me().id, sid)
    flash("That session has ended." if ended else "That session had ended already.")
    return redirect(url_for("admin.sessions"), 303)


@blueprint.post(f"/users/<int(max={MAX_ID}):user_id>/end-sessions")
@admin_required
def end_user_sessions(user_id: int) -> ResponseReturnValue:
    """Ends all of a user's sessions; an administrator's own keeps the one that asks."""
    keep = current_sid() if user_id == me().id else None
    ended = session_manager().delete_user_sessions(str(user_id), keep=keep, by=me().get_id())
    log.info("administrator %s ended %s sessions of user %s", me().id, ended, user_id)
    flash(f"Ended {ended} session{'' if ended == 1 else 's'}.")
    return redirect(url_for("admin.sessions"), 303)
