"""How SMTP's parsers say no (RFC 5321 4.2, RFC 3463)."""

from __future__ import annotations


class SmtpError(Exception):
    """The peer's command is wrong or asks for what can't be. All of it is public: `501 5.1.7 Bad sender address`."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(f"{code} {enhanced} {text}")
        self.code = code
        self.enhanced = enhanced
        self.text = text

    def reply(self) -> str:
        """The reply line, without line end."""
        return f"{self.code} {self.enhanced} {self.text}"
