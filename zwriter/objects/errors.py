"""What goes wrong with an object store, told in one line that says what to do; never a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import ClientPayloadError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NoConnection
from obstore.exceptions import GenericError

from zwriter.errors import ServiceError, UsageError, ZwriterError

_NO_CREDENTIALS = (
    "the object store needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
    "profile, or `anonymous` for a public bucket"
)
_ELSEWHERE = "the bucket is in another region; set `region`"
# What a server says when it refuses, and what to do about it.
_REFUSALS = {
    "InvalidAccessKeyId": "it does not know the access key; check AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is not that of the access key; check both",
    "ExpiredToken": "the credentials have expired; get new ones",
    "InvalidToken": "the session token is not valid; get new credentials",
    "RequestTimeTooSkewed": "its clock and ours differ by minutes; set this machine's clock",
    "AccessDenied": "the credentials do not allow it; check them, or ask the bucket's owner",
    "403": "the credentials do not allow it; check them, or ask the bucket's owner",
    "301": _ELSEWHERE,
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
}
# No fault of the server: an object is not there, has no such bytes, or is another one by now.
_FACTS = {"NoSuchKey", "404", "InvalidRange", "416", "PreconditionFailed", "412"}
_FACTS |= {"ConditionalRequestConflict", "409"}


@contextmanager
def requests_told(bucket: str, endpoint: Callable[[], str]) -> Iterator[None]:
    """What fails in a request, of s3fs or obstore, becomes ours, except that an object is not
    there, or has no such bytes, or has changed. endpoint: what tells where requests go.

    Raises UsageError for a wrong bucket, ServiceError for a server that refuses or cannot be
    reached.
    """
    try:
        yield
    except Exception as error:
        if ours := _of_request(error, bucket, endpoint()):
            raise ours from None  # what is behind it shows whole requests
        raise


@contextmanager
def no_such_bytes_told(name: str) -> Iterator[None]:
    """That an object has no such bytes becomes an OSError."""
    try:
        yield
    except Exception as error:
        if _code(error) in ("InvalidRange", "416"):
            raise OSError(f"{name} is shorter than it was, or empty") from None
        raise


@contextmanager
def settings_told() -> Iterator[None]:
    """What cannot be used of the settings becomes a UsageError."""
    try:
        yield
    except (BotoCoreError, ValueError, OSError) as error:
        raise UsageError(f"the object store's settings cannot be used: {error}") from None


def no_credentials() -> UsageError:
    return UsageError(_NO_CREDENTIALS)


def odd_credentials() -> UsageError:
    return UsageError("the object store's key, secret or token has a line break or the like in it")


def no_new_credentials(error: Exception) -> ServiceError:
    """Those that expire could not be renewed, which may be possible later."""
    return ServiceError(f"the object store's credentials cannot be renewed: {error}")


def is_not_implemented(error: Exception) -> bool:
    """Whether the server says that it cannot do what a request asks for."""
    return _code(error) in ("NotImplemented", "501")


def _of_request(error: Exception, bucket: str, where: str) -> ZwriterError | None:
    if code := _code(error):
        if code == "NoSuchBucket":
            return UsageError(f"there is no bucket {bucket} at {where}; check its name or make it")
        if code in _REFUSALS:
            return ServiceError(f"{where} refuses access to bucket {bucket}: {_REFUSALS[code]}")
        if code in _FACTS:
            return None
        return ServiceError(
            f"{where} answers {code} for bucket {bucket}; try again, or ask who runs it"
        )
    match error:
        case NoCredentialsError() | PartialCredentialsError():
            return no_credentials()
        case SSLError():
            return ServiceError(f"{where} has a certificate that is not trusted; set `ca_file`")
        case NoConnection() | HTTPClientError() | ClientPayloadError() | TimeoutError():
            return ServiceError(f"{where} cannot be reached; check `endpoint` and the network")
        case GenericError():  # obstore does not tell these apart
            return ServiceError(f"{where} cannot be reached; check `endpoint` and `ca_file`")
        case CredentialRetrievalError():
            return no_new_credentials(error)
        case BotoCoreError():
            return UsageError(f"the object store's settings cannot be used: {error}")
    return None


def _code(error: Exception) -> str | None:
    """The server's word for what is wrong, if it was the server that said so."""
    answer = error if isinstance(error, ClientError) else error.__cause__
    if isinstance(answer, ClientError):
        return str(answer.response.get("Error", {}).get("Code", ""))
    in_text = re.search(r"status code: (\d+)(?:.*?<Code>(\w+)</Code>)?", str(error), re.DOTALL)
    return (in_text[2] or in_text[1]) if in_text else None
