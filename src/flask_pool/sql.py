"""Decides from the text of a statement whether it only reads. When unsure, it does not."""

from __future__ import annotations

import re
from functools import lru_cache

LONGEST = 10_000  # characters of a statement that is worth reading

TOKEN = re.compile(
    r"""\s*(?:
    (?P<name>"[^"\\]*"|`[^`]*`)
    |(?P<value>'[^'\\]*'|\d+(?:\.\d+)?|%\(\w+\)s|%s|\?|:\w+)
    |(?P<cast>::)
    |(?P<word>[A-Za-z_][A-Za-z_0-9]*)
    |(?P<sign><=|>=|<>|!=|\|\||->>?|%%|[-=<>+*/,.()\[\]])
    )""",
    re.VERBOSE,
)
# what may stand before a parenthesis: functions that only compute, and SQL's own words
CALLABLE = frozenset(
    """
    abs avg cast ceil char_length coalesce concat count dense_rank floor greatest ifnull least
    length lower max min nullif rank round row_number substr substring sum trim upper
    and any all as between by case char decimal distinct else except exists filter from having in
    intersect is join like limit not numeric offset on or over partition select some then union
    using varchar when where
    """.split()
) | {""}
# words of statements that write, lock or set, and values that depend on the transaction
DOUBTFUL = frozenset(
    """
    call copy currval delete do exec execute explain for handler insert into lastval localtime
    localtimestamp lock merge nextval now procedure replace returning set sysdate tablesample
    update utc_date utc_time utc_timestamp
    """.split()
)
TYPES = frozenset(
    """
    bigint boolean bytea char date double float integer interval json jsonb numeric real smallint
    text time timestamp uuid varchar
    """.split()
)
FIRST = re.compile(r"[\s(]*(SELECT|WITH)\b", re.IGNORECASE)
SETS = re.compile(r"\A\s*(SET|RESET|DISCARD)\b|set_config|isolation", re.IGNORECASE)


def may_set_isolation(statement: str) -> bool:
    """Tell whether a statement may change the isolation of later transactions."""
    if len(statement) > LONGEST:
        return SETS.search(statement) is not None
    return _may_set_isolation(statement)


@lru_cache(maxsize=1000)
def _may_set_isolation(statement: str) -> bool:
    return SETS.search(statement) is not None


def only_reads(statement: str) -> bool:
    """Tell whether a statement surely neither writes, locks, sets nor depends on a transaction."""
    return len(statement) <= LONGEST and _only_reads(statement)


@lru_cache(maxsize=1000)
def _only_reads(statement: str) -> bool:
    if not FIRST.match(statement):
        return False
    if "--" in statement or "/*" in statement:
        return False
    position, end = 0, len(statement.rstrip())
    before = word = ""
    while position < end:
        token = TOKEN.match(statement, position)
        if token is None:
            return False
        position, kind, text = token.end(), token.lastgroup, token.group(token.lastgroup or 0)
        if text == "(" and (before in ("name", "value") or word not in CALLABLE):
            return False
        was_cast, after_dot = before == "cast", word == "."
        before, word = kind or "", ""
        if kind == "word":
            word = text.lower()
            doubtful = word in DOUBTFUL or word.startswith("current")
            if doubtful or (was_cast and word not in TYPES):
                return False
            if after_dot:  # a column; before a parenthesis somebody's own function
                before = "name"
        elif text == ".":
            word = "."
    return True
