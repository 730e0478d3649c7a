"""The collation i;unicode-casemap (RFC 5051), by which SORT and THREAD compare text (RFC 5256 7).

    casemap("Übung") == casemap("ÜBUNG") == b"U\\xcc\\x88BUNG"

Each character is replaced by its simple title case and that by its decomposition, canonical or of compatibility, as
often as there is one; the result is compared as UTF-8 octets. Marks aren't reordered and Hangul syllables stay whole,
as the RFC's table-driven procedure has it: so this isn't normalisation form KD.
"""

import unicodedata

_MAX_KNOWN = 8192  # characters whose mapping is kept: enough for any language, and no sender can make it grow


def casemap(text: str) -> bytes:
    """Octets whose order and equality are those of the text in this collation."""
    if text.isascii():
        return text.upper().encode("ascii")
    return text.translate(_MAPPED).encode("utf-8", "replace")


class _Mapped(dict[int, str]):
    """Code point → what takes its place; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        if len(self) >= _MAX_KNOWN:
            self.clear()
        mapped = self[code] = _decomposed(_title(chr(code)))
        return mapped


_MAPPED = _Mapped()


def _title(character: str) -> str:
    """The simple title case: of a few ligatures Python knows only the full one, which is longer."""
    title = character.title()
    return title if len(title) == 1 else character


def _decomposed(character: str) -> str:
    """All decompositions of the character database, one after the other; they end, and soon."""
    mapping = unicodedata.decomposition(character)
    if not mapping:
        return character
    codes = [code for code in mapping.split() if not code.startswith("<")]
    return "".join([_decomposed(chr(int(code, 16))) for code in codes])
