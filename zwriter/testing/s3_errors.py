"""Errors as an S3 server answers them: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple
from xml.sax.saxutils import escape

from zwriter.testing.http import Head

_MESSAGES = {
    "SlowDown": (503, "Please reduce your request rate."),
    "ServiceUnavailable": (503, "Service is unable to handle request."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "NotImplemented": (
        501,
        "A parameter you provided implies functionality that is not implemented.",
    ),
    "ExpiredToken": (400, "The provided token has expired."),
    "RequestTimeTooSkewed": (
        403,
        "The difference between the request time and the current time is too large.",
    ),
    "AccessDenied": (403, "Access Denied"),
    "ConditionalRequestConflict": (
        409,
        "The conditional request cannot succeed due to a conflicting operation.",
    ),
}
AWS_STATUS = {code: status for code, (status, _) in _MESSAGES.items()}
_REQUEST_ID = "4442587FB7D0A2F9"


class Error(NamedTuple):
    """What is wrong, in S3's words, and the HTTP status it is answered with."""

    code: str
    status: int

    def answer(self, request: Head) -> bytes:
        """To this request. It ends the connection if the client has yet to send its body."""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{_MESSAGES[self.code][1]}</Message>"
            f"<Resource>/{escape(request.path)}</Resource><RequestId>{_REQUEST_ID}</RequestId>"
            "</Error>"
        ).encode()
        lines = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"x-amz-request-id: {_REQUEST_ID}",
            "Content-Type: application/xml",
            f"Content-Length: {len(body)}",
            *(["Connection: close"] if request.waits else []),
        )
        head = "\r\n".join((*lines, "", "")).encode()
        return head if request.method == "HEAD" else head + body
