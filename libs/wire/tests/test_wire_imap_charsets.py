"""Every charset that BADCHARSET offers is one that strings can be decoded from."""

import pytest
from mailboat_wire.imap.charsets import SUPPORTED, codec


@pytest.mark.parametrize("name", SUPPORTED.split())
def test_offered_charsets_decode(name: bytes) -> None:
    for spelled in (name, name.lower()):
        found = codec(spelled)
        assert found is not None
        assert "abc".encode(found).decode(found) == "abc"


@pytest.mark.parametrize("name", [b"", b"UTF-7", b"X-NONE", b"punycode", b"base64", b"idna", b"\xff", b"iso-8859-12"])
def test_others_do_not(name: bytes) -> None:
    assert codec(name) is None
