"""Where files go: an S3 bucket, read from an endpoint URL in any of the forms that providers print.

| form | example |
|---|---|
| AWS, bucket in the host | `https://my-bucket.s3.eu-west-1.amazonaws.com` |
| AWS, regional | `https://s3.eu-west-1.amazonaws.com[/my-bucket]`, also `s3-eu-west-1` and `s3.dualstack.eu-west-1` |
| Cloudflare R2 | `https://<account>.r2.cloudflarestorage.com[/my-bucket]` |
| DigitalOcean Spaces | `https://[my-bucket.]nyc3.digitaloceanspaces.com[/my-bucket]` |
| Google Cloud Storage | `https://[my-bucket.]storage.googleapis.com[/my-bucket]` |
| MinIO and all others | `http://minio:9000[/my-bucket]` |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

#: Seven days, the longest that a presigned URL of signature version 4 may live.
LONGEST_URL_EXPIRY_S = 604_800

_S3_HOST = re.compile(
    r"^(?:(?P<bucket>.+)\.)?s3(?:-fips)?(?:\.dualstack)?(?:[.-](?P<region>[a-z0-9-]+))?\.(?P<domain>[a-z0-9-]+\.[a-z.]+)$"
)
_R2_HOST = re.compile(r"^(?:(?P<bucket>.+)\.)?(?P<base>[0-9a-f]{32}(?:\.(?:eu|fedramp))?\.r2\.cloudflarestorage\.com)$")
_GOOGLE_HOST = re.compile(r"^(?:(?P<bucket>.+)\.)?(?P<base>storage\.googleapis\.com)$")
_SPACES_HOST = re.compile(r"^(?:(?P<bucket>.+)\.)?(?P<base>(?P<region>[a-z]{3}\d)\.digitaloceanspaces\.com)$")


@dataclass(frozen=True, kw_only=True)
class Bucket:
    endpoint_url: str
    name: str
    region: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    #: Prepended to every key; no slashes at its ends.
    key_prefix: str = ""
    url_expires_s: int = LONGEST_URL_EXPIRY_S
    #: When set, URLs are `<public_url>/<key>` and not signed.
    public_url: str | None = None

    @property
    def virtual_host_style(self) -> bool:
        """AWS retires path-style requests; every other provider takes them. No certificate covers a name with dots."""
        host = urlsplit(self.endpoint_url).hostname or ""
        return "." not in self.name and bool(re.search(r"\.amazonaws\.com(\.cn)?$", host))


@dataclass(frozen=True)
class Endpoint:
    """What a URL alone tells: None where it does not."""

    url: str
    bucket: str | None
    region: str | None


def parse_endpoint(url: str) -> Endpoint:
    """Split an endpoint URL into service URL, bucket and region. Raises ValueError with a reason."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must be an http(s) URL such as https://s3.eu-west-1.amazonaws.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("it must not carry credentials, a query or a fragment")
    path = parts.path.strip("/")
    if "/" in path:
        raise ValueError("its path may hold the bucket's name and nothing more; use BUCKET_KEY_PREFIX for folders")
    host, bucket, region = _split_host(parts.hostname)
    if bucket and path not in ("", bucket):
        raise ValueError(f"it names the bucket '{bucket}' in its host; use BUCKET_KEY_PREFIX for the folder '{path}'")
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return Endpoint(f"{parts.scheme}://{host}{port}", bucket or path or None, region)


def _split_host(host: str) -> tuple[str, str | None, str | None]:
    """-> (service host, bucket or None, region or None)."""
    if match := _R2_HOST.match(host):
        return match["base"], match["bucket"], "auto"
    if match := _GOOGLE_HOST.match(host):
        return match["base"], match["bucket"], "auto"
    if match := _SPACES_HOST.match(host):
        return match["base"], match["bucket"], match["region"]
    if match := _S3_HOST.match(host):
        region = match["region"]
        if region is None and match["domain"] == "amazonaws.com":
            region = "us-east-1"
        service = host[len(match["bucket"]) + 1 :] if match["bucket"] else host
        return service, match["bucket"], region
    return host, None, None
