"""SMTP on the wire: addresses, the arguments of MAIL and RCPT, the message after DATA, the replies."""

from mailboat_wire.smtp.address import Address, domain_to_unicode, normalise_domain, parse_address, parse_path
from mailboat_wire.smtp.client import Extensions, Reply, ReplyError, ReplyReader, parse_extensions, stuffed
from mailboat_wire.smtp.data import DataFault, DataReader, LineEndCheck
from mailboat_wire.smtp.envelope import (
    Body,
    MailFrom,
    Notify,
    OriginalRecipient,
    RcptTo,
    Ret,
    decode_xtext,
    encode_xtext,
    parse_mail,
    parse_rcpt,
)
from mailboat_wire.smtp.errors import SmtpError

__all__ = [
    "Address",
    "Body",
    "DataFault",
    "DataReader",
    "Extensions",
    "LineEndCheck",
    "MailFrom",
    "Notify",
    "OriginalRecipient",
    "RcptTo",
    "Reply",
    "ReplyError",
    "ReplyReader",
    "Ret",
    "SmtpError",
    "decode_xtext",
    "domain_to_unicode",
    "encode_xtext",
    "normalise_domain",
    "parse_address",
    "parse_extensions",
    "parse_mail",
    "parse_path",
    "parse_rcpt",
    "stuffed",
]
