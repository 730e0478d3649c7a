"""The charsets of SEARCH strings (RFC 9051 6.4.4, RFC 3501 6.4.4), and what BADCHARSET tells of them (7.1).

A fixed list, of charsets that mail is written in: a client's name for one never reaches a codec registry, and each
codec takes time linear in its input. UTF-7 isn't among them: nothing searches in it.
"""

from __future__ import annotations

# As told to clients, by preference: MIME's preferred name → Python's codec.
_CHARSETS = {
    b"US-ASCII": "utf-8",  # a part of it
    b"UTF-8": "utf-8",
    b"UTF-16": "utf-16",
    **{b"ISO-8859-%d" % number: f"iso8859-{number}" for number in (*range(1, 12), *range(13, 17))},
    **{b"WINDOWS-%d" % number: f"cp{number}" for number in (874, *range(1250, 1259))},
    b"KOI8-R": "koi8-r",
    b"KOI8-U": "koi8-u",
    b"ISO-2022-JP": "iso2022_jp",
    b"SHIFT_JIS": "cp932",
    b"EUC-JP": "euc_jp",
    b"ISO-2022-KR": "iso2022_kr",
    b"EUC-KR": "cp949",
    b"GB2312": "gb18030",
    b"GBK": "gb18030",
    b"GB18030": "gb18030",
    b"BIG5": "big5hkscs",
    b"TIS-620": "cp874",
}
_ALIASES = {
    b"ASCII": b"US-ASCII",
    b"UTF8": b"UTF-8",
    b"LATIN1": b"ISO-8859-1",
    b"CP932": b"SHIFT_JIS",
    b"WINDOWS-31J": b"SHIFT_JIS",
    b"KS_C_5601-1987": b"EUC-KR",
}

SUPPORTED = b" ".join(_CHARSETS)


def codec(charset: bytes) -> str | None:
    """Python's codec for a charset's name in any case, None if it isn't supported."""
    name = charset.upper()
    return _CHARSETS.get(_ALIASES.get(name, name))
