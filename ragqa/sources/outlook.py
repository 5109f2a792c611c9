"""Outlook's messages (.msg), read as any other message is."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from ragqa.sources.loader import File
from ragqa.sources.mail import message_documents
from ragqa.sources.source import Item
from ragqa.sources.text import UnreadableError


def read(file: File) -> Iterator[Item]:
    """Yield a message and its attachments; raises UnreadableError for a damaged one."""
    from oxmsg import Message

    try:
        made = _message(Message.load(str(file.path)))
    except Exception as error:  # its parser trusts every number in the file
        raise UnreadableError("damaged (no message)") from error
    yield from message_documents(made, file)


def _message(found: Any) -> EmailMessage:
    made = EmailMessage()
    sent = found.message_headers
    to = ", ".join(
        name or address for name, address in ((r.name, r.email_address) for r in found.recipients) if name
    )
    headers = {"Subject": found.subject, "From": sent.get("From") or found.sender, "To": sent.get("To") or to}
    headers["Date"] = format_datetime(found.sent_date) if found.sent_date else sent.get("Date")
    for name, value in headers.items():
        if value:
            made[name] = " ".join(str(value).split())
    if found.body:
        made.set_content(str(found.body))
    elif found.html_body:
        made.set_content(str(found.html_body), subtype="html")
    else:
        made.set_content("")
    for attached in found.attachments:
        if attached.file_bytes:
            made.add_attachment(
                attached.file_bytes,
                maintype="application",
                subtype="octet-stream",
                filename=attached.file_name or "attachment",
            )
    return made
