"""Generated mail that looks like mail: what the zstd dictionary is trained on.

The texts are ours and mean nothing; what matters are the shapes real mail repeats: trace fields, authentication
results, DKIM signatures, the header orders of common programs, MIME part headers, HTML boilerplate, quoted replies,
reports and invitations. The same seed gives the same messages.
"""
# ruff: noqa: E501 - templates of long lines read worse when they are cut

from __future__ import annotations

import base64
import quopri
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

WORDS = {
    "en": "the of and to in is for that on with as by this from at be are was or an have it not which you your we our "
    "meeting project budget schedule report customer delivery contract review team update release question answer "
    "attached please regards invoice forecast summary ticket order payment reminder agenda notes draft version "
    "request status account password click here unsubscribe privacy policy thanks hello dear best week month",
    "de": "der die das und zu in ist für mit auf dem den von ein eine nicht sich auch wird werden wir Sie Ihre Ihr bitte "
    "Rechnung Bestellung Lieferung Termin Anfrage Angebot Freundliche Grüße Anhang Woche Konto Kunden Frage Antwort",
    "fr": "le la les des et de du un une pour dans que est avec sur par vous votre nous notre pas ce cette merci "
    "bonjour facture commande livraison réunion demande réponse cordialement pièce jointe compte semaine client",
    "es": "el la los las de que y en un una por con para su sus no es este esta gracias hola factura pedido entrega "
    "reunión consulta respuesta saludos adjunto cuenta semana cliente",
}
ROLES = ("alice", "bob", "carol", "dave", "erin", "sales", "support", "billing", "info", "news", "team", "noreply",
         "notifications", "service", "orders", "hr", "admin", "postmaster", "office", "contact")  # fmt: skip
DOMAINS = ("example.com", "example.net", "example.org", "mail.example.com", "shop.example.net", "corp.example.org",
           "example.test", "news.example.com", "lists.example.org")  # fmt: skip


class MailMaker:
    """One seeded source of messages."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - samples, not secrets

    def token(self, length: int, alphabet: str = "0123456789abcdef") -> str:
        return "".join(self.rng.choices(alphabet, k=length))

    def b64(self, octets: int) -> str:
        return base64.b64encode(self.rng.randbytes(octets)).decode()

    def address(self) -> str:
        return f"{self.rng.choice(ROLES)}@{self.rng.choice(DOMAINS)}"

    def mailbox(self) -> str:
        address = self.address()
        role = address.partition("@")[0].title()
        return self.rng.choice((address, f"<{address}>", f'"{role}" <{address}>', f"{role} <{address}>"))

    def ip(self) -> str:
        return self.rng.choice((f"192.0.2.{self.rng.randrange(256)}", f"198.51.100.{self.rng.randrange(256)}",
                                f"203.0.113.{self.rng.randrange(256)}", f"2001:db8::{self.token(4)}"))  # fmt: skip

    def when(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.rng.randrange(3 * 365 * 86400))

    def date(self) -> str:
        return format_datetime(self.when()).replace(
            "+0000", self.rng.choice(("+0000", "+0100", "+0200", "-0500", "-0700"))
        )

    def sentence(self, words: int, language: str | None = None) -> str:
        pool = WORDS[language or self.rng.choice(tuple(WORDS))].split()
        return " ".join(self.rng.choices(pool, k=words)).capitalize()

    def text(self, paragraphs: int) -> str:
        language = self.rng.choice(("en", "en", *WORDS))
        out = []
        for _ in range(paragraphs):
            line = ""
            for _ in range(self.rng.randint(2, 6)):
                line += self.sentence(self.rng.randint(5, 14), language) + ". "
            out.append(_wrap(line.strip(), 72))
        return "\r\n\r\n".join(out) + "\r\n"

    # Header fields

    def word(self, text: str) -> str:
        if text.isascii():
            return text
        if self.rng.random() < 0.5:
            return "=?UTF-8?B?" + base64.b64encode(text.encode()).decode() + "?="
        return "=?utf-8?Q?" + quopri.encodestring(text.encode(), header=True).decode().replace("=\n", "") + "?="

    def received(self) -> str:
        host, by, date = (
            f"{self.rng.choice(ROLES)}.{self.rng.choice(DOMAINS)}",
            f"mx.{self.rng.choice(DOMAINS)}",
            self.date(),
        )
        ip, token = self.ip(), self.token(26, "0123456789abcdefghjkmnpqrstvwxyz")
        return self.rng.choice((
            f"Received: from {host} ({host} [{ip}])\r\n\tby {by} with ESMTPS id {token};\r\n\t{date}",
            f"Received: from {host} ({host} [{ip}])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n"
            f"\t(No client certificate requested)\r\n\tby {by} (Postfix) with ESMTPS id {token[:11].upper()}\r\n"
            f"\tfor <{self.address()}>; {date}",
            f"Received: from {host} ({host}. [{ip}])\r\n        by {by} with SMTPS id {token[:20]}\r\n"
            f"        for <{self.address()}>\r\n        (version=TLS1_3 cipher=TLS_AES_128_GCM_SHA256 bits=128/128);\r\n        {date}",
            f"Received: by 2002:a05:{self.token(4)}:{self.token(4)}:b0:{self.token(3)}:{self.token(4)} with SMTP id {token[:20]};\r\n        {date}",
            f"Received: from {host.upper()} ([{ip}])\r\n by {by.upper()} ([fe80::{self.token(4)}%{self.rng.randrange(9)}]) with mapi id 15.20."
            f"{self.rng.randrange(9999)}.{self.rng.randrange(99):03}; {date}",
            f"Received: from [192.168.{self.rng.randrange(256)}.{self.rng.randrange(256)}] (unknown [{ip}])\r\n\tby {by} with ESMTPSA id {token};\r\n\t{date}",
        ))  # fmt: skip

    def signature(self) -> str:
        domain, fold = self.rng.choice(DOMAINS), self.rng.choice(("\r\n\t", "\r\n        ", "\r\n "))
        lines = fold.join(_cut(self.b64(256), 70))
        return (f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain};{fold}s=selector1; t={self.rng.randrange(10**9, 2 * 10**9)};"
                f"{fold}h=From:To:Subject:Date:Message-ID:MIME-Version:Content-Type:{fold}List-Unsubscribe:List-Unsubscribe-Post:Reply-To;"
                f"{fold}bh={self.b64(32)};{fold}b={lines}")  # fmt: skip

    def authentication(self) -> str:
        domain, sender = self.rng.choice(DOMAINS), self.address()
        return (f"Authentication-Results: mx.{self.rng.choice(DOMAINS)};\r\n\tdkim=pass (2048-bit key) header.d={domain} header.i=@{domain} header.s=selector1;\r\n"
                f"\tspf=pass (mx.{domain}: domain of {sender} designates {self.ip()} as permitted sender) smtp.mailfrom={sender};\r\n"
                f"\tdmarc=pass (p=QUARANTINE sp=NONE dis=NONE) header.from={domain}")  # fmt: skip

    def message_id(self) -> str:
        return f"<{self.token(self.rng.choice((16, 24, 32)))}.{self.rng.randrange(10**9)}@{self.rng.choice(DOMAINS)}>"

    def head(self, *extra: str, subject: str = "") -> list[str]:
        fields = [f"Return-Path: <{self.address()}>", *(self.received() for _ in range(self.rng.randint(1, 4)))]
        if self.rng.random() < 0.7:
            fields += [self.authentication(), self.signature()]
        if self.rng.random() < 0.3:
            fields.append("X-Spam-Status: No, score=-2.1 required=5.0 tests=BAYES_00,DKIM_SIGNED,DKIM_VALID,\r\n"
                          "\tDKIM_VALID_AU,HTML_MESSAGE,RCVD_IN_DNSWL_NONE,SPF_HELO_NONE,SPF_PASS\r\n\tautolearn=ham autolearn_force=no")  # fmt: skip
        body = [f"From: {self.mailbox()}", f"To: {', '.join(self.mailbox() for _ in range(self.rng.choice((1, 1, 1, 2, 3))))}",
                f"Subject: {self.word(subject or self.sentence(self.rng.randint(3, 8)))}", f"Date: {self.date()}",
                f"Message-ID: {self.message_id()}", "MIME-Version: 1.0"]  # fmt: skip
        if self.rng.random() < 0.25:
            body.append(f"Cc: {self.mailbox()},\r\n {self.mailbox()}")
        if self.rng.random() < 0.5:
            self.rng.shuffle(body)
        return [*fields, *body, *extra]

    # Messages

    def plain(self) -> bytes:
        agent = self.rng.choice(("User-Agent: Mozilla Thunderbird", "X-Mailer: Apple Mail (2.3774.600.62)", "User-Agent: Mutt/2.2.13 (2024-03-09)",
                                 "X-Mailer: Microsoft Outlook 16.0", "X-Mailer: git-send-email 2.43.0", "User-Agent: K-9 Mail for Android"))  # fmt: skip
        head = self.head(
            agent,
            "Content-Type: text/plain; charset=UTF-8; format=flowed",
            "Content-Transfer-Encoding: 8bit",
            "Content-Language: en-US",
        )
        return _message(
            head, self.text(self.rng.randint(1, 6)) + self.rng.choice(("", "\r\n-- \r\n" + self.sentence(4) + "\r\n"))
        )

    def reply(self) -> bytes:
        ids = [self.message_id() for _ in range(self.rng.randint(1, 4))]
        head = self.head(f"In-Reply-To: {ids[-1]}", "References: " + "\r\n ".join(ids), 'Content-Type: text/plain; charset="utf-8"',
                         "Content-Transfer-Encoding: quoted-printable", subject="Re: " + self.sentence(5))  # fmt: skip
        quoted = "\r\n".join("> " + line for line in self.text(2).split("\r\n"))
        body = f"{self.text(1)}\r\nOn {self.date()}, {self.mailbox()} wrote:\r\n{quoted}\r\n"
        return _message(head, _quoted_printable(body))

    def alternative(self) -> bytes:
        boundary = self.rng.choice((f"000000000000{self.token(16)}", f"----=_Part_{self.rng.randrange(10**6)}_{self.rng.randrange(10**9)}.{self.rng.randrange(10**12)}",
                                    f"_000_{self.token(32).upper()}_", f"b1_{self.token(32)}", f"Apple-Mail=_{self.token(8).upper()}-{self.token(4).upper()}"))  # fmt: skip
        text = self.text(self.rng.randint(1, 3))
        head = self.head(f'Content-Type: multipart/alternative; boundary="{boundary}"', *self._bulk())
        return _message(head, self._alternative(boundary, text))

    def newsletter(self) -> bytes:
        boundary = f"--==_mimepart_{self.token(12)}_{self.token(6)}"
        head = self.head(
            *self._bulk(),
            f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"',
            "Content-Transfer-Encoding: 7bit",
        )
        rows = "".join(
            f'<tr><td align="center" valign="top" style="padding: 0 20px 20px; font-family: Arial, Helvetica, sans-serif; font-size: 14px; line-height: 20px; '
            f'color: #333333;"><a href="https://www.{self.rng.choice(DOMAINS)}/{self.token(12)}?utm_source=newsletter&amp;utm_medium=email&amp;utm_campaign='
            f'{self.token(6)}" style="color: #1155cc; text-decoration: none;" target="_blank"><img src="https://img.{self.rng.choice(DOMAINS)}/{self.token(16)}.png" '
            f'alt="" width="600" height="200" border="0" style="display: block;" /></a><p style="margin: 0 0 1em;">{self.sentence(20)}</p></td></tr>\r\n'
            for _ in range(self.rng.randint(1, 5)))  # fmt: skip
        html = (
            '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\r\n'
            '<html xmlns="http://www.w3.org/1999/xhtml">\r\n<head>\r\n<meta http-equiv="Content-Type" content="text/html; charset=utf-8" />\r\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1.0" />\r\n<title></title>\r\n<style type="text/css">\r\nbody { margin: 0; padding: 0; '
            "background-color: #ffffff; }\r\n@media only screen and (max-width: 600px) { .container { width: 100% !important; } }\r\n</style>\r\n</head>\r\n<body>\r\n"
            '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" class="container">\r\n<tbody>\r\n'
            f"{rows}</tbody>\r\n</table>\r\n</body>\r\n</html>\r\n"
        )
        return _message(
            head,
            self._parts(
                boundary,
                (
                    ("text/plain; charset=utf-8", "quoted-printable", self.text(2)),
                    ("text/html; charset=utf-8", "quoted-printable", html),
                ),
            ),
        )

    def attachment(self) -> bytes:
        boundary, inner = f"=_{self.token(32)}", f"=_{self.token(32)}"
        kind, name = self.rng.choice((("application/pdf", "invoice.pdf"), ("image/png", "image001.png"), ("image/jpeg", "IMG_0001.jpg"),
                                      ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "report.docx"),
                                      ("application/octet-stream", "data.bin"), ("text/csv", "export.csv")))  # fmt: skip
        head = self.head(f'Content-Type: multipart/mixed; boundary="{boundary}"')
        data = "\r\n".join(_cut(self.b64(self.rng.randint(200, 2000)), 76))
        return _message(head,
            f'This is a multi-part message in MIME format.\r\n\r\n--{boundary}\r\nContent-Type: multipart/alternative; boundary="{inner}"\r\n\r\n'
            f"{self._alternative(inner, self.text(1))}\r\n--{boundary}\r\n"
            f'Content-Type: {kind}; name="{name}"\r\nContent-Description: {name}\r\nContent-Disposition: attachment; filename="{name}"; size={self.rng.randrange(10**6)}\r\n'
            f"Content-ID: <{self.token(12)}@{self.rng.choice(DOMAINS)}>\r\nContent-Transfer-Encoding: base64\r\n\r\n{data}\r\n--{boundary}--\r\n")  # fmt: skip

    def bounce(self) -> bytes:
        boundary, rcpt = f"{self.token(11).upper()}.{self.rng.randrange(10**10)}/mx.example.com", self.address()
        head = self.head("Auto-Submitted: auto-replied", f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
                         subject="Undelivered Mail Returned to Sender")  # fmt: skip
        return _message(head,
            f"This is a MIME-encapsulated message.\r\n\r\n--{boundary}\r\nContent-Description: Notification\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
            f"I'm sorry to have to inform you that your message could not\r\nbe delivered to one or more recipients. It's attached below.\r\n\r\n<{rcpt}>: host mx.example.net[{self.ip()}] said: "
            f"550 5.1.1 <{rcpt}>:\r\n    Recipient address rejected: User unknown (in reply to RCPT TO command)\r\n\r\n--{boundary}\r\nContent-Description: Delivery report\r\n"
            f"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.com\r\nArrival-Date: {self.date()}\r\n\r\nFinal-Recipient: rfc822; {rcpt}\r\n"
            f"Original-Recipient: rfc822;{rcpt}\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.net\r\nDiagnostic-Code: smtp; 550 5.1.1 User unknown\r\n\r\n"
            f"--{boundary}\r\nContent-Description: Undelivered Message\r\nContent-Type: message/rfc822\r\n\r\n" + "\r\n".join(self.head()) + f"\r\n\r\n{self.text(1)}\r\n--{boundary}--\r\n")  # fmt: skip

    def invitation(self) -> bytes:
        boundary, stamp = f"_000_{self.token(32).upper()}_", f"{self.when():%Y%m%dT%H%M%SZ}"
        event = (f"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nPRODID:-//Example Corp//Calendar//EN\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nORGANIZER;CN=Office:mailto:{self.address()}\r\n"
                 f"ATTENDEE;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;CN=Team:mailto:{self.address()}\r\nSUMMARY;LANGUAGE=en-US:{self.sentence(4)}\r\n"
                 f"DTSTART:{stamp}\r\nDTEND:{stamp}\r\nUID:{self.token(40)}\r\nCLASS:PUBLIC\r\nPRIORITY:5\r\nDTSTAMP:{stamp}\r\nTRANSP:OPAQUE\r\nSTATUS:CONFIRMED\r\nSEQUENCE:0\r\n"
                 "BEGIN:VALARM\r\nDESCRIPTION:REMINDER\r\nTRIGGER;RELATED=START:-PT15M\r\nACTION:DISPLAY\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")  # fmt: skip
        head = self.head(f'Content-Type: multipart/alternative;\r\n\tboundary="{boundary}"', "X-MS-Has-Attach:", "X-MS-TNEF-Correlator:", "Thread-Index: " + self.b64(22),
                         "Accept-Language: en-US", "Content-Language: en-US", f"x-originating-ip: [{self.ip()}]", "x-ms-exchange-messagesentrepresentingtype: 1")  # fmt: skip
        return _message(
            head,
            self._parts(
                boundary,
                (
                    ('text/plain; charset="utf-8"', "8bit", self.text(1)),
                    ('text/calendar; charset="utf-8"; method=REQUEST', "8bit", event),
                ),
            ),
        )

    def monitor(self) -> bytes:
        head = self.head("Content-Type: text/plain; charset=us-ascii", "Content-Transfer-Encoding: 7bit", "Auto-Submitted: auto-generated", "Precedence: bulk",
                         subject=f"[ALERT] {self.sentence(3, 'en')} on host{self.rng.randrange(99)}.{self.rng.choice(DOMAINS)}")  # fmt: skip
        rows = "".join(f"{self.when():%Y-%m-%d %H:%M:%S} host{self.rng.randrange(99)} {self.rng.choice(ROLES)}[{self.rng.randrange(9999)}]: {self.sentence(8, 'en')}\r\n"
                       for _ in range(self.rng.randint(3, 20)))  # fmt: skip
        return _message(head, rows)

    def _bulk(self) -> list[str]:
        domain, token = self.rng.choice(DOMAINS), self.token(24)
        return [f"List-Unsubscribe: <https://{domain}/unsubscribe/{token}>,\r\n <mailto:unsubscribe@{domain}?subject=unsubscribe>",
                "List-Unsubscribe-Post: List-Unsubscribe=One-Click", f"List-Id: <news.{domain}>", "Precedence: bulk", f"Reply-To: {self.mailbox()}",
                f"Feedback-ID: {self.rng.randrange(10**7)}:{token[:8]}:campaign", f"X-Entity-Ref-ID: {token}"][: self.rng.randint(0, 7)]  # fmt: skip

    def _alternative(self, boundary: str, text: str) -> str:
        html = "".join(
            f'<div dir="ltr">{line}<br></div>\r\n' if self.rng.random() < 0.5 else f"<p>{line}</p>\r\n"
            for line in text.split("\r\n")
            if line
        )
        html = f'<html><head>\r\n<meta http-equiv="Content-Type" content="text/html; charset=utf-8"></head><body>{html}</body></html>\r\n'
        charset = self.rng.choice(('charset="UTF-8"', "charset=utf-8", "charset=UTF-8"))
        return self._parts(boundary, ((f"text/plain; {charset}", self.rng.choice(("8bit", "quoted-printable")), text),
                                      (f"text/html; {charset}", self.rng.choice(("8bit", "quoted-printable")), html)))  # fmt: skip

    def _parts(self, boundary: str, parts: tuple[tuple[str, str, str], ...]) -> str:
        out = ""
        for kind, encoding, content in parts:
            encoded = _quoted_printable(content) if encoding == "quoted-printable" else content
            out += f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{encoded}\r\n"
        return f"{out}--{boundary}--\r\n"


def messages(seed: int, count: int) -> Iterator[bytes]:
    """`count` messages of all kinds, with CRLF line ends."""
    maker = MailMaker(seed)
    kinds: tuple[Callable[[], bytes], ...] = (maker.plain, maker.reply, maker.alternative, maker.newsletter, maker.attachment,
                                              maker.bounce, maker.invitation, maker.monitor)  # fmt: skip
    for i in range(count):
        yield kinds[i % len(kinds)]()


def _message(head: list[str], body: str) -> bytes:
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def _wrap(line: str, width: int) -> str:
    out, length = [], 0
    for word in line.split():
        if length + len(word) > width:
            out.append("\r\n")
            length = 0
        elif out:
            out.append(" ")
        out.append(word)
        length += len(word) + 1
    return "".join(out)


def _cut(text: str, width: int) -> list[str]:
    return [text[i : i + width] for i in range(0, len(text), width)]


def _quoted_printable(text: str) -> str:
    return quopri.encodestring(text.replace("\r\n", "\n").encode()).decode().replace("\n", "\r\n")
