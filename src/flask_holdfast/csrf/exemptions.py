"""The views that an application takes out of the protection. Pure: no Flask.

A view is exempt by its identity. Flask-WTF compares names ("module.function"), so that two views
made by one factory, or by one decorator without `functools.wraps`, exempt each other.

A view is also exempt if it was made from an exempted object: `app.route` may hold a wrapper of it,
a `functools.partial`, a bound method or a class view's function. This second rule does not hold if
that object is itself a view of the app: then only that view was meant.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any


class Exemptions:
    """The objects that were exempted, by identity."""

    def __init__(self) -> None:
        # Each object is held, so that its id cannot become another's.
        self._given: dict[object, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._given)

    def add(self, view: Any) -> None:
        self._given[_identity(view)] = view

    def covers(self, view: Any, views: Collection[Any]) -> bool:
        """Whether `view` is exempt in an app whose view functions are `views`."""
        if _identity(view) in self._given:
            return True
        # Most views hold nothing that was exempted: then the other views need not be looked at.
        if not any(_identity(part) in self._given for part in _parts(view, ())):
            return False
        others = {_identity(known) for known in views}
        return any(_identity(part) in self._given for part in _parts(view, others))


class Named:
    """A set of views as `CSRFProtect.exempt` takes them: by name, by blueprint or as objects.

    `names` and `blueprints` may be sets that others add to.
    """

    def __init__(self, names: set[str], blueprints: set[Any]) -> None:
        self.names = names
        self.blueprints = blueprints
        self.objects = Exemptions()

    def __bool__(self) -> bool:
        return bool(self.names or self.blueprints or self.objects)

    def add(self, view: Any) -> None:
        """Add a view by itself or by its name, or a blueprint, which cannot be called."""
        if isinstance(view, str):
            self.names.add(view)
        elif callable(view):
            self.objects.add(view)
        else:
            self.blueprints.add(view)

    def covers(
        self, endpoint: str | None, views: Mapping[str, Any], blueprints: Mapping[str, Any]
    ) -> bool:
        """Whether the view at `endpoint` is one of them, in an app that has these views and
        blueprints, each by name. A blueprint brings along those nested in it.
        """
        if not self or endpoint is None:
            return False
        folders = endpoint.split(".")[:-1]
        if any(
            blueprints.get(".".join(folders[:depth])) in self.blueprints
            for depth in range(1, len(folders) + 1)
        ):
            return True
        view = views.get(endpoint)
        if view is None:
            return False
        return not self.names.isdisjoint({endpoint, _name(view)}) or self.objects.covers(
            view, views.values()
        )


def of_flask_wtf(
    names: Collection[str],
    exempt_blueprints: Collection[Any],
    views: Mapping[str, Any],
    blueprints: Mapping[str, Any],
) -> tuple[frozenset[str], Mapping[str, list[str]]]:
    """What Flask-WTF's own `CSRFProtect` exempts by these "module.function" names and blueprints,
    in an app with these views and blueprints: the endpoints, and the names that count for none.

    A name that several views share counts for none, as one of them was meant; each such name comes
    with the endpoints of these views. A blueprint brings along no other that is nested in it.
    """
    named: dict[str, list[str]] = {}
    for endpoint, view in views.items():
        if (name := _name(view)) in names:
            named.setdefault(name, []).append(endpoint)
    shared = {
        name: endpoints
        for name, endpoints in named.items()
        if len({_identity(views[endpoint]) for endpoint in endpoints}) > 1
    }
    alone = {each for name in named.keys() - shared.keys() for each in named[name]}
    inside = {
        endpoint
        for endpoint in views
        if "." in endpoint and blueprints.get(endpoint.rpartition(".")[0]) in exempt_blueprints
    }
    return frozenset(alone | inside), shared


def _name(view: Any) -> str:
    """The name by which Flask-WTF knows `view`."""
    return f"{getattr(view, '__module__', '')}.{getattr(view, '__name__', '')}"


def _identity(view: Any) -> object:
    # Each `instance.method` is another object.
    if isinstance(view, MethodType):
        return id(view.__self__), id(view.__func__)
    return id(view)


def _parts(view: Any, others: Collection[object]) -> Iterator[Any]:
    """The objects that `view` was made from, however deep, without other views and their parts: a
    view that calls an exempt one holds it in its closure just as a decorator does.
    """
    seen = {id(view)}
    waiting = [view]
    while waiting:
        for part in _direct_parts(waiting.pop()):
            if id(part) not in seen and _identity(part) not in others:
                seen.add(id(part))
                waiting.append(part)
                yield part


def _direct_parts(view: Any) -> Iterator[Any]:
    if isinstance(view, functools.partial):
        yield view.func
    if isinstance(view, MethodType):
        yield view.__func__
    for name in ("__wrapped__", "view_class"):
        if (part := getattr(view, name, None)) is not None:
            yield part
    # A decorator without `functools.wraps` leaves no other trace of what it wraps.
    if isinstance(view, FunctionType):
        for cell in view.__closure__ or ():
            try:
                part = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            if isinstance(part, FunctionType | MethodType | functools.partial):
                yield part
