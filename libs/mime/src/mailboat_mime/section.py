"""Which bytes a section of FETCH BODY[section] names (RFC 3501 6.4.5, RFC 9051 6.4.5)."""

from enum import StrEnum

from mailboat_mime.part import Kind, Part


class Section(StrEnum):
    """The text after the part numbers. HEADER.FIELDS is cut from what HEADER names with `select_fields`."""

    BODY = ""
    HEADER = "HEADER"
    HEADER_FIELDS = "HEADER.FIELDS"
    HEADER_FIELDS_NOT = "HEADER.FIELDS.NOT"
    TEXT = "TEXT"
    MIME = "MIME"


def find_part(part: Part, path: tuple[int, ...]) -> Part | None:
    """The body part with these numbers under a message, or None; the message itself for ().

    In a message that isn't a multipart, part 1 is its body, and the message's own Part stands for it.
    """
    found = _descend(part, path)
    return found[0] if found is not None else None


def resolve(part: Part, path: tuple[int, ...], kind: str = Section.BODY) -> tuple[int, int] | None:
    """(start, end) of a section as offsets into the message whose tree is `part`, or None if it doesn't exist.

    HEADER and TEXT after part numbers exist only in a message/rfc822 part; MIME only after part numbers.
    """
    section = Section(kind)
    found = _descend(part, path)
    if found is None:
        # A multipart without parts is shown with one empty part, which can be asked for
        parent = _descend(part, path[:-1]) if path and path[-1] == 1 else None
        if parent is None:
            return None
        holder, is_message = parent
        if not is_message and holder.message is not None:
            holder = holder.message
        if holder.kind is not Kind.MULTIPART or holder.children:
            return None
        return (holder.body_start,) * 2 if section in (Section.BODY, Section.MIME) else None
    target, is_message = found
    if section is Section.MIME:
        return (target.header_start, target.body_start) if path else None
    if section is Section.BODY:
        return (target.header_start if not path else target.body_start), target.body_end
    if path:
        embedded = target.message
        if is_message or embedded is None:
            return None
        target = embedded
    if section is Section.TEXT:
        return target.body_start, target.body_end
    return target.header_start, target.body_start


def _descend(part: Part, path: tuple[int, ...]) -> tuple[Part, bool] | None:
    """The part, and whether it is reached as a message (whose numbers begin anew) rather than as a body part."""
    is_message = True
    for number in path:
        embedded = part.message
        if not is_message and embedded is not None:
            part, is_message = embedded, True
        if part.kind is Kind.MULTIPART:
            if not 1 <= number <= len(part.children):
                return None
            part = part.children[number - 1]
        elif not is_message or number != 1:
            return None
        is_message = False
    return part, is_message
