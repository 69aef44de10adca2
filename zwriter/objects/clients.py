"""From the settings to clients of an object store: obstore's to write and to read whole objects, by
a quarter of the CPU time, s3fs's for all else that is read.

What the settings leave open botocore finds where AWS's own tools do: AWS_* variables, the files
and profiles of `aws configure`, the machine's role. Secrets stay in botocore's sessions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import aiobotocore.session
import botocore.config
import botocore.loaders
import botocore.session
import obstore
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from obstore.store import S3Store

from zwriter.errors import ServiceError, UsageError
from zwriter.objects.errors import (
    no_credentials,
    no_new_credentials,
    no_such_bytes_told,
    odd_credentials,
    requests_told,
    settings_told,
)
from zwriter.objects.filesystem import BucketFileSystem
from zwriter.settings import StorageSettings, endpoint_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Credential

DEFAULT_REGION = "us-east-1"  # what Ceph and MinIO expect when nobody has named theirs
CREDENTIALS_LAST = timedelta(minutes=5)  # then botocore is asked again, which renews what expires


class ObjectStorage:
    """The clients of one object store, made when they are first asked for.

    Raises UsageError for what of the settings cannot be used: a profile that is not there.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self.settings = settings
        with settings_told():
            self._session = self._new_session()
            region = settings.region or self._session.get_config_variable("region")
            self._ca = settings.ca_file or self._session.get_config_variable("ca_bundle")
        self.region: str = region or DEFAULT_REGION
        self._clients: dict[str, S3Store] = {}
        self._filesystem: BucketFileSystem | None = None
        self._known: Any = None  # the key that it was made with
        self._looked = time.monotonic()  # when the key was read
        self._making = Lock()  # many threads may ask for the first object at once

    @property
    def filesystem(self) -> BucketFileSystem:
        """To read and to list with. It keeps no listings: what a live scan has grows."""
        with self._making:
            known = None if self.settings.anonymous else self._key()
            if self._filesystem is None or known != self._known:
                self._filesystem, self._known = self._new_filesystem(), known
            return self._filesystem

    def _new_filesystem(self) -> BucketFileSystem:
        settings = self.settings
        _ = self.endpoint  # raises if it cannot be used
        with settings_told():
            session = aiobotocore.session.AioSession(profile=settings.profile)
        session.register_component("data_loader", AWS_DESCRIPTIONS)
        return BucketFileSystem(
            session=self._with_credentials(session),
            anon=settings.anonymous,
            endpoint_url=settings.endpoint,
            client_kwargs=self._client_options,
            config_kwargs=_CONFIG | {"s3": {"addressing_style": self._addressing}},
        )

    def writer(self, bucket: str, prefix: str = "", *, little: bool = False) -> S3Store:
        """To write with, below a prefix of a bucket; little: what usually takes no second. Nothing
        is tried again: after an error an object may be there or not. Raises UsageError without
        credentials."""
        return self._client(bucket, prefix, {"max_retries": 0}, _OF_LITTLE if little else _OF_MUCH)

    def ask(self, bucket: str) -> None:
        """Return if the server answers for a bucket, and takes who we are. Raises as `read` does,
        after a few seconds."""
        client = self._client(bucket, "", {"max_retries": 0}, _QUICK)
        with requests_told(bucket, lambda: self.endpoint):
            next(iter(obstore.list(client, ".zwriter/ask")), None)

    def read(self, bucket: str, key: str) -> bytes:
        """An object, by one request. Raises FileNotFoundError if there is none, UsageError for a
        wrong bucket or without credentials, ServiceError if the server cannot be reached."""
        client = self._whole_objects(bucket)
        with requests_told(bucket, lambda: self.endpoint):
            return bytes(obstore.get(client, key).bytes())

    def read_part(self, bucket: str, key: str, start: int, stop: int) -> bytes:
        """Some bytes of an object, by one request. Raises as `read` does, and OSError if it has
        none there.
        """
        client = self._whole_objects(bucket)
        with requests_told(bucket, lambda: self.endpoint), no_such_bytes_told(key):
            part: Any = obstore.get_range(client, key, start=start, end=stop)  # a buffer like bytes
            return part  # type: ignore[no-any-return]

    def read_start(self, bucket: str, key: str, nbytes: int) -> tuple[bytes, int]:
        """The first bytes of an object, and its size. Raises as `read_part` does."""
        client = self._whole_objects(bucket)
        with requests_told(bucket, lambda: self.endpoint), no_such_bytes_told(key):
            answer = obstore.get(client, key, options={"range": (0, nbytes)})
            return bytes(answer.bytes()), answer.meta["size"]

    def sizes(self, bucket: str, folder: str) -> dict[str, int]:
        """Key -> bytes of all objects in a folder, however deep. Raises as `read` does."""
        client = self._whole_objects(bucket)
        with requests_told(bucket, lambda: self.endpoint):
            pages = obstore.list(client, folder)
            return {entry["path"]: entry["size"] for page in pages for entry in page}

    def write(self, bucket: str, key: str, data: bytes) -> None:
        """An object, by one request, in place of what is there. Raises as `read` does."""
        client = self._whole_objects(bucket)
        with requests_told(bucket, lambda: self.endpoint):
            obstore.put(client, key, data, use_multipart=False)

    def delete(self, bucket: str, key: str) -> None:
        """Make sure that there is no such object. Raises as `read` does."""
        client = self._whole_objects(bucket)
        with requests_told(bucket, lambda: self.endpoint):
            obstore.delete(client, key)

    def contents(self, bucket: str, folder: str) -> dict[str, bool]:
        """The names in a folder, and whether each is a folder. Raises as `read` does."""
        client = self._whole_objects(bucket)
        with requests_told(bucket, lambda: self.endpoint):
            return names_in(client, folder)

    def folders_named(
        self, bucket: str, folder: str, suffix: str, beside: str
    ) -> tuple[list[str], list[str]] | None:
        """Folders with a suffix below a folder, however deep, but for those in such a folder; and
        all objects with the suffix `beside` that are in none of them. By one request each 1000
        folders and objects. None if the server can list single folders only, or nothing: then who
        asks next is told."""
        ending, start = f"{suffix}/", f"{folder}/" if folder else ""
        folders: list[str] = []
        objects: list[str] = []
        mark: dict[str, str] | None = {}
        while mark is not None:
            try:
                answer = self.filesystem.call_s3(
                    "list_objects_v2", Bucket=bucket, Prefix=start, Delimiter=ending, **mark
                )
            except (ServiceError, OSError):
                return None
            prefixes = [found["Prefix"] for found in answer.get("CommonPrefixes", ())]
            keys = [found["Key"] for found in answer.get("Contents", ())]
            truncated, token = answer.get("IsTruncated"), answer.get("NextContinuationToken")
            grouped = all(path.endswith(ending) for path in prefixes)
            hidden = any(ending in key.removeprefix(start) for key in keys)
            if not grouped or hidden or (truncated and token is None):
                return None
            folders += [path.removesuffix("/") for path in prefixes]
            objects += [key for key in keys if key.endswith(beside)]
            mark = {"ContinuationToken": token} if truncated else None
        return folders, objects

    def now(self, bucket: str) -> float:
        """The server's time, in seconds."""
        answer = self.filesystem.call_s3("head_bucket", Bucket=bucket)
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()

    def unfinished_uploads(self, bucket: str, folder: str) -> Iterator[tuple[str, str, float]]:
        """Key, id and begin of uploads in parts that were begun and not ended."""
        marks: dict[str, str] = {}
        while True:
            answer = self.filesystem.call_s3(
                "list_multipart_uploads",
                Bucket=bucket,
                Prefix=f"{folder}/" if folder else "",
                **marks,
            )
            for found in answer.get("Uploads", ()):
                yield found["Key"], found["UploadId"], found["Initiated"].timestamp()
            if not answer.get("IsTruncated"):
                return
            marks = {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer["NextUploadIdMarker"],
            }

    def abort_upload(self, bucket: str, key: str, upload: str) -> None:
        """Drop what was uploaded of an object."""
        self.filesystem.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)

    def upload(self, bucket: str, key: str, file: Path) -> None:
        """A file as an object, in parts if it is large; as `write`, whole or not at all."""
        client, part = self._whole_objects(bucket), max(_PART, file.stat().st_size // _PARTS + 1)
        with requests_told(bucket, lambda: self.endpoint):
            obstore.put(client, key, file, chunk_size=part, max_concurrency=4)

    def _whole_objects(self, bucket: str) -> S3Store:
        with self._making:
            if bucket not in self._clients:
                self._clients[bucket] = self._client(bucket, "", _RETRIES, _OF_MUCH)
            return self._clients[bucket]

    def _client(
        self,
        bucket: str,
        prefix: str,
        retries: RetryConfig | None = None,
        timeouts: ClientConfig | None = None,
    ) -> S3Store:
        settings, endpoint = self.settings, self.endpoint
        if not settings.anonymous:
            self._credentials()
        if not settings.path_style:
            scheme, _, host = endpoint.partition("://")
            endpoint = f"{scheme}://{bucket}.{host}"
        options: ClientConfig = {"allow_http": endpoint.startswith("http://"), **(timeouts or {})}
        if self._ca:
            with settings_told():
                options["root_certificate"] = Path(self._ca).read_bytes()
        return S3Store(
            bucket,
            prefix=prefix or None,
            config={
                "endpoint": endpoint,
                "region": self.region,
                "virtual_hosted_style_request": not settings.path_style,
                "skip_signature": settings.anonymous,
                # TLS guards it; a signature needs a SHA-256 before anything is sent
                "unsigned_payload": endpoint.startswith("https://"),
            },
            client_options=options,
            retry_config=retries,
            credential_provider=None if settings.anonymous else self._credentials,
        )

    @cached_property
    def endpoint(self) -> str:
        """Where requests go: what the settings, the environment or a profile say, or AWS's own.
        Raises UsageError if that is no address, or has a password in it, which would be shown."""
        with settings_told():
            client = self._session.create_client(
                "s3",
                endpoint_url=self.settings.endpoint,
                config=botocore.config.Config(signature_version=botocore.UNSIGNED),
                **self._client_options,
            )
        endpoint: str = client.meta.endpoint_url
        client.close()
        try:
            return endpoint_url(endpoint).rstrip("/")
        except ValueError as error:
            raise UsageError(f"the object store's endpoint: {error}") from None

    @property
    def _addressing(self) -> str:
        return "path" if self.settings.path_style else "virtual"

    @property
    def _client_options(self) -> dict[str, Any]:
        return {"region_name": self.region, "verify": str(self._ca) if self._ca else None}

    def _with_credentials(self, session: Any) -> Any:
        """The session, with the credentials of the settings, if there are any."""
        key, secret = self.settings.access_key_id, self.settings.secret_access_key
        if key and secret:
            token = self.settings.session_token
            session.set_credentials(
                key.get_secret_value(),
                secret.get_secret_value(),
                token.get_secret_value() if token else None,
            )
        return session

    def _credentials(self) -> S3Credential:
        """What obstore asks for when it signs: the credentials of this moment."""
        found = self._found_credentials()
        if found is None:
            raise no_credentials()
        try:
            frozen = found.get_frozen_credentials()
        except (BotoCoreError, ClientError, RuntimeError) as error:  # they are renewed just now
            raise no_new_credentials(error) from None
        if not "".join(filter(None, frozen)).isprintable():
            raise odd_credentials()  # a client panics over a line break
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + CREDENTIALS_LAST,
        }

    def _key(self) -> Any:
        """The credentials of this moment, if they do not renew themselves."""
        found = self._found_credentials()
        renewed = found is None or isinstance(found, RefreshableCredentials)
        return None if renewed else found.get_frozen_credentials()

    def _found_credentials(self) -> Any:
        """What botocore finds, None if that is nothing. A key in a file is read again from time to
        time: somebody may have put a new one there."""
        with settings_told():
            found = self._session.get_credentials()
            old = time.monotonic() - self._looked >= CREDENTIALS_LAST.total_seconds()
            if old and not isinstance(found, RefreshableCredentials):
                self._session, self._looked = self._new_session(), time.monotonic()
                found = self._session.get_credentials()
            return found

    def _new_session(self) -> Any:
        session = botocore.session.Session(profile=self.settings.profile)
        session.register_component("data_loader", AWS_DESCRIPTIONS)
        return self._with_credentials(session)


def names_in(client: S3Store, folder: str) -> dict[str, bool]:
    """The names in a folder, and whether each is a folder."""
    found = obstore.list_with_delimiter(client, folder or None)
    folders = {path.rpartition("/")[2]: True for path in found["common_prefixes"]}
    return folders | {entry["path"].rpartition("/")[2]: False for entry in found["objects"]}


# What botocore knows of AWS is read once, not by each session: that takes 0.1 s.
AWS_DESCRIPTIONS = botocore.loaders.create_loader()
# Errors that pass are tried again for a few seconds: by obstore, by botocore, and by s3fs, twice.
_RETRIES: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
_OF_MUCH: ClientConfig = {"connect_timeout": "5s", "timeout": "2m"}  # a whole, large object
_OF_LITTLE: ClientConfig = {"connect_timeout": "5s", "timeout": "20s"}
_QUICK: ClientConfig = {"connect_timeout": "2s", "timeout": "5s"}
_PART, _PARTS = 16 * 1024 * 1024, 9000  # S3 takes no more than 10000 parts
_CONFIG: dict[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "connect_timeout": 5,
    "read_timeout": 30,
    "max_pool_connections": 32,
}
