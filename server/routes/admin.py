"""For administrators: whose sessions live, and an end to any of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, render_template, request, url_for

from flask_holdfast import SessionPage
from server.ended import administrator
from server.login import admin_required, me
from server.models import MAX_ID, find_user, usernames
from server.routes.paging import cursor, page_of
from server.session_manager import current_sid, session_manager

if TYPE_CHECKING:
    from uuid import UUID

    from flask.typing import ResponseReturnValue

log = logging.getLogger("server.admin")
blueprint = Blueprint("admin", __name__, url_prefix="/admin")


@blueprint.get("/sessions")
@admin_required
def sessions() -> ResponseReturnValue:
    wanted = wanted_user()
    user = find_user(wanted) if wanted else None
    if user is not None:
        page = page_of(user.get_id())
    elif wanted:
        page = SessionPage()
    else:
        page = page_of()
    return render_template(
        "admin/sessions.html",
        page=page,
        here=cursor(),
        wanted=wanted,
        user=user,
        names=usernames({info.user_id for info in page.values() if info.user_id}),
        stats=session_manager().get_session_stats(),
        condition=session_manager().store.condition(),
    )


@blueprint.post("/sessions/<uuid:sid>/end")
@admin_required
def end_session(sid: UUID) -> ResponseReturnValue:
    """Ends one, and leads back to the page of the list that it was on."""
    ended = session_manager().revoke_session(str(sid), by=administrator(me()))
    log.info("administrator %s ended session %s", me().id, sid)
    flash("That session has ended." if ended else "That session had ended already.")
    return redirect(url_for("admin.sessions", cursor=cursor(), user=wanted_user() or None), 303)


@blueprint.post(f"/users/<int(max={MAX_ID}):user_id>/end-sessions")
@admin_required
def end_user_sessions(user_id: int) -> ResponseReturnValue:
    """Ends all of a user's sessions; an administrator's own keeps the one that asks."""
    keep = current_sid() if user_id == me().id else None
    ended = session_manager().delete_user_sessions(str(user_id), keep=keep, by=administrator(me()))
    log.info("administrator %s ended %s sessions of user %s", me().id, ended, user_id)
    flash(counted(ended))
    return redirect(url_for("admin.sessions"), 303)


@blueprint.post("/sessions/end-all")
@admin_required
def end_all_sessions() -> ResponseReturnValue:
    """Ends everyone's sessions and remember cookies, but the session that asks."""
    # Said first: they are dead at once, whatever becomes of the tidying up after it.
    log.warning("administrator %s ends everyone's sessions", me().id)
    ended = session_manager().delete_all_sessions(keep=current_sid(), by=administrator(me()))
    log.info("%s sessions ended", ended)
    flash(counted(ended))
    return redirect(url_for("admin.sessions"), 303)


def wanted_user() -> str:
    """`?user=` of this request: the name of the account whose sessions are to be listed."""
    return request.args.get("user", "").strip()


def counted(ended: int) -> str:
    return f"Ended {ended:,} session{'' if ended == 1 else 's'}."
