"""Errors of a server are understood in the words of each of its versions."""

from __future__ import annotations

import pytest
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from flask_holdfast.sessions.stores.redis import errors
from flask_holdfast.sessions.stores.redis.errors import as_told_since_redis_7, kind_of

#: Redis 6.2 says this before the reason, and redis-py takes the leading ERR away.
STOPPED = f"Error running script (call to f_{'9' * 40}): @user_script:51: @user_script: 51: "


@pytest.mark.parametrize(
    ("reason", "error", "kind"),
    [
        ("-READONLY You can't write against a read only replica.", ReadOnlyError, "readonly"),
        ("-OOM command not allowed when used memory > 'maxmemory'.", OutOfMemoryError, "full"),
        ("-MISCONF Redis is configured to save RDB snapshots", ResponseError, "misconf"),
        ("The user executing the script can't run this command", ResponseError, "auth"),
        ("Script attempted to access a non local key in a cluster", ResponseError, "cluster"),
        ("attempt to index a nil value", ResponseError, "reply"),
    ],
    ids=["a replica", "full", "cannot save", "forbidden", "a slot elsewhere", "a script's fault"],
)
def test_a_replica_that_runs_redis_6_is_not_taken_for_a_master(
    reason: str, error: type[Exception], kind: str
) -> None:
    told = as_told_since_redis_7(ResponseError(STOPPED + reason))

    assert type(told) is error
    assert str(told) == reason.removeprefix("-")
    assert kind_of(told) == kind


def test_a_missing_acl_right_is_reported_as_one_by_later_servers_too() -> None:
    answer = ResponseError("ACL failure in script: User me has no permissions to run the 'set'")

    assert kind_of(answer) == errors.AUTH


def test_what_redis_7_says_is_left_as_it_is() -> None:
    answer = ReadOnlyError("You can't write against a read only replica. script: 9, on f_9:51.")

    assert as_told_since_redis_7(answer) is answer
    assert kind_of(answer) == errors.READONLY
