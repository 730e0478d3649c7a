"""The registry of SEARCH keys: the parsed key's type → how it is decided. A new key is one function and one line here.

RFC 9051 6.4.4, RFC 5032 (WITHIN), RFC 7162 3.1.5 (MODSEQ), RFC 8514 (SAVED…), RFC 8474 (EMAILID,
THREADID).
"""

from __future__ import annotations

from collections.abc import Mapping

from mailboat_wire.imap import types as t

from . import columns, logic, objectids, texts
from .base import Key

SEARCH_KEYS: Mapping[type[t.SearchKey], Key] = {
    t.SearchAll: columns.ALL,
    t.SearchAnd: logic.AND,
    t.SearchOr: logic.OR,
    t.SearchNot: logic.NOT,
    t.SearchFlag: columns.FLAG,
    t.SearchRecent: columns.RECENT,
    t.SearchSequence: columns.SEQUENCE,
    t.SearchSize: columns.SIZE,
    t.SearchModseq: columns.MODSEQ,
    t.SearchWithin: columns.WITHIN,
    t.SearchDate: columns.DATE,
    t.SearchHeader: texts.HEADER,
    t.SearchText: texts.TEXT,
    t.SearchObjectId: objectids.OBJECT_ID,
}
