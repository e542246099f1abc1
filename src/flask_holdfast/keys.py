"""Which secret keys count, and which the whole world knows. Pure: no Flask."""

from __future__ import annotations

import re
from typing import Any

#: Keys that stand in documentation and tutorials, as their lower-case letters and digits alone: so
#: no other spelling with quotes, blanks, hyphens or escapes hides one. Keys too short to pass are
#: left out.
_PUBLISHED = frozenset(
    {
        # Flask's documentation, of now and of former years; with its escapes as bytes and as text.
        "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
        *("5y2lf4q8z", "5y2lf4q8znxec", "a0zr98j3yxrxhhjmnlwxrt"),
        # Flask-Security's documentation, its key and its salt.
        *("pf9wkove4ikeaxvycqkedphv9cb3agwyjilbqdfw", "146585145368132386173505678016728509634"),
        # Well-known books, courses and answers.
        *("hardtoguessstring", "youwillneverguess", "5791628bb0b13ce0c676dfde280ba245"),
        *("9olwxnd4o83j4k4iuopo", "sjdnuends821jsdlkvxh391ksdodnejddw", "asecrettoeverybody"),
        *("thisisasecret", "thisisasecretkey", "thisisthesecretkey", "thisismysecretkey"),
        *("thisismysecret", "thisisasupersecretkey", "thisisbadsecretkey", "somesecretkey"),
        *("somerandomkey", "somerandomstring", "arandomstring", "averysecretkey"),
        *("verysecretkey", "mysecretkey", "myverysecretkey", "mysupersecretkey", "secretkeyhere"),
        *("asecretkey", "thesecretkey", "topsecretkey", "supersecretkey", "supersecretstring"),
        *("areallylongsecretkey", "reallysecretkey", "randomsecretkey", "flasksecretkey"),
        *("flaskappsecretkey", "defaultsecretkey", "defaultstring", "developmentkey"),
        *("developmentsecretkey", "devsecretkey", "productionkey", "testsecretkey"),
        *("notasecretkey", "insecuresecretkey", "insecuredevkey", "putasecretkeyhere"),
        *("insertsecretkeyhere", "entersecretkeyhere", "hereyouputasecretkeyasastring"),
        *("keepthisreallysecret", "dontusethisinproduction"),
    }
)


def counting(current: Any, fallbacks: Any) -> list[str | bytes]:
    """The keys that sign, or signed formerly, the current one first; none without a current one.

    An empty key would let anybody sign, and a value that is neither str nor bytes is no key:
    `[""]` and `[None]` come from a variable that is not set. One str as `fallbacks` is one key.
    """
    if not _is_key(current):
        return []
    former = [fallbacks] if isinstance(fallbacks, str | bytes) else fallbacks or ()
    return [current, *filter(_is_key, former)]


def is_published(key: bytes) -> bool:
    """Whether `key` stands in documentation, where attackers look first."""
    return re.sub(rb"[^a-z0-9]", b"", key.lower()).decode("ascii") in _PUBLISHED


def _is_key(key: Any) -> bool:
    return isinstance(key, str | bytes) and bool(key)
