"""Endpoint URLs in the forms that providers print."""

from __future__ import annotations

import dataclasses

import pytest

from comfy_worker.bucket import Bucket, Endpoint, parse_endpoint

ACCOUNT = "0123456789abcdef0123456789abcdef"
R2 = f"https://{ACCOUNT}.r2.cloudflarestorage.com"
R2_EU = f"https://{ACCOUNT}.eu.r2.cloudflarestorage.com"
EU_WEST = "https://s3.eu-west-1.amazonaws.com"
MUST_BE_URL = "it must be an http(s) URL such as https://s3.eu-west-1.amazonaws.com"
NO_EXTRAS = "it must not carry credentials, a query or a fragment"
ONE_FOLDER = "its path may hold the bucket's name and nothing more; use BUCKET_KEY_PREFIX for folders"


@pytest.mark.parametrize(
    ("url", "service", "bucket", "region"),
    [
        # AWS
        ("https://files.s3.eu-west-1.amazonaws.com", EU_WEST, "files", "eu-west-1"),
        ("https://files.s3.eu-west-1.amazonaws.com/", EU_WEST, "files", "eu-west-1"),
        ("https://files.s3.eu-west-1.amazonaws.com/files", EU_WEST, "files", "eu-west-1"),
        ("https://my.files.s3.eu-west-1.amazonaws.com", EU_WEST, "my.files", "eu-west-1"),
        ("https://s3.files.s3.eu-west-1.amazonaws.com", EU_WEST, "s3.files", "eu-west-1"),
        (EU_WEST, EU_WEST, None, "eu-west-1"),
        (f"{EU_WEST}/files", EU_WEST, "files", "eu-west-1"),
        (f"{EU_WEST}/files/", EU_WEST, "files", "eu-west-1"),
        ("https://s3.amazonaws.com", "https://s3.amazonaws.com", None, "us-east-1"),
        ("https://files.s3.amazonaws.com", "https://s3.amazonaws.com", "files", "us-east-1"),
        ("https://s3-eu-west-1.amazonaws.com/files", "https://s3-eu-west-1.amazonaws.com", "files", "eu-west-1"),
        ("https://files.s3-us-west-2.amazonaws.com", "https://s3-us-west-2.amazonaws.com", "files", "us-west-2"),
        (
            "https://files.s3.dualstack.us-east-2.amazonaws.com",
            "https://s3.dualstack.us-east-2.amazonaws.com",
            "files",
            "us-east-2",
        ),
        ("https://s3-fips.us-east-1.amazonaws.com", "https://s3-fips.us-east-1.amazonaws.com", None, "us-east-1"),
        ("https://s3.us-gov-west-1.amazonaws.com", "https://s3.us-gov-west-1.amazonaws.com", None, "us-gov-west-1"),
        (
            "https://files.s3.cn-north-1.amazonaws.com.cn",
            "https://s3.cn-north-1.amazonaws.com.cn",
            "files",
            "cn-north-1",
        ),
        # Cloudflare R2
        (R2, R2, None, "auto"),
        (f"{R2}/files", R2, "files", "auto"),
        (f"https://files.{ACCOUNT}.r2.cloudflarestorage.com", R2, "files", "auto"),
        (R2_EU, R2_EU, None, "auto"),
        (f"{R2_EU}/files", R2_EU, "files", "auto"),
        (f"https://files.{ACCOUNT}.eu.r2.cloudflarestorage.com", R2_EU, "files", "auto"),
        # DigitalOcean
        ("https://nyc3.digitaloceanspaces.com", "https://nyc3.digitaloceanspaces.com", None, "nyc3"),
        ("https://nyc3.digitaloceanspaces.com/files", "https://nyc3.digitaloceanspaces.com", "files", "nyc3"),
        ("https://files.nyc3.digitaloceanspaces.com", "https://nyc3.digitaloceanspaces.com", "files", "nyc3"),
        # MinIO
        ("http://minio:9000", "http://minio:9000", None, None),
        ("http://minio:9000/files", "http://minio:9000", "files", None),
        ("http://127.0.0.1:9000/files", "http://127.0.0.1:9000", "files", None),
        ("http://[::1]:9000/files", "http://[::1]:9000", "files", None),
        ("http://localhost", "http://localhost", None, None),
        ("http://s3:9000/files", "http://s3:9000", "files", None),
        # Others
        ("https://s3.us-west-002.backblazeb2.com", "https://s3.us-west-002.backblazeb2.com", None, "us-west-002"),
        (
            "https://files.s3.us-west-002.backblazeb2.com",
            "https://s3.us-west-002.backblazeb2.com",
            "files",
            "us-west-002",
        ),
        ("https://s3.wasabisys.com/files", "https://s3.wasabisys.com", "files", None),
        ("https://s3.eu-central-1.wasabisys.com", "https://s3.eu-central-1.wasabisys.com", None, "eu-central-1"),
        (
            "https://files.s3.eu-central-1.wasabisys.com",
            "https://s3.eu-central-1.wasabisys.com",
            "files",
            "eu-central-1",
        ),
        ("https://s3.fr-par.scw.cloud/files", "https://s3.fr-par.scw.cloud", "files", "fr-par"),
        ("https://storage.googleapis.com", "https://storage.googleapis.com", None, "auto"),
        ("https://storage.googleapis.com/files", "https://storage.googleapis.com", "files", "auto"),
        ("https://files.storage.googleapis.com", "https://storage.googleapis.com", "files", "auto"),
        ("https://s3api-eu-ro-1.runpod.io/volume", "https://s3api-eu-ro-1.runpod.io", "volume", None),
        # White space and capitals of copy and paste
        (" https://S3.eu-west-1.AmazonAWS.com/Files \n", EU_WEST, "Files", "eu-west-1"),
    ],
)
def test_endpoint_forms(url: str, service: str, bucket: str | None, region: str | None) -> None:
    assert parse_endpoint(url) == Endpoint(service, bucket, region)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", MUST_BE_URL),
        ("s3.eu-west-1.amazonaws.com", MUST_BE_URL),
        ("s3://files", MUST_BE_URL),
        ("ftp://host/files", MUST_BE_URL),
        ("https://", MUST_BE_URL),
        ("https:///files", MUST_BE_URL),
        ("my-bucket", MUST_BE_URL),
        ("https://key:secret@s3.amazonaws.com", NO_EXTRAS),
        ("https://s3.amazonaws.com/files?x=1", NO_EXTRAS),
        ("https://s3.amazonaws.com/files#x", NO_EXTRAS),
        (f"{EU_WEST}/files/folder", ONE_FOLDER),
        ("https://proj.supabase.co/storage/v1/s3", ONE_FOLDER),
        (
            "https://files.s3.eu-west-1.amazonaws.com/folder",
            "it names the bucket 'files' in its host; use BUCKET_KEY_PREFIX for the folder 'folder'",
        ),
        (
            f"https://files.{ACCOUNT}.r2.cloudflarestorage.com/other",
            "it names the bucket 'files' in its host; use BUCKET_KEY_PREFIX for the folder 'other'",
        ),
    ],
)
def test_what_is_no_endpoint(url: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_endpoint(url)
    assert str(refused.value) == reason


@pytest.mark.parametrize("url", ["http://host:port", "http://host:99999", "http://[::1"])
def test_urls_that_python_itself_refuses(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_endpoint(url)
    assert str(refused.value)


def bucket(endpoint_url: str = EU_WEST, name: str = "files") -> Bucket:
    return Bucket(endpoint_url=endpoint_url, name=name, region="r", access_key_id="AKIA", secret_access_key="wJalr")


@pytest.mark.parametrize(
    ("endpoint_url", "name", "virtual"),
    [
        (EU_WEST, "files", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", "files", True),
        # No certificate covers two labels before s3.
        (EU_WEST, "my.files", False),
        (R2, "files", False),
        ("http://minio:9000", "files", False),
        ("https://nyc3.digitaloceanspaces.com", "files", False),
        ("https://storage.googleapis.com", "files", False),
        ("https://amazonaws.com.example.org", "files", False),
    ],
)
def test_addressing_style(endpoint_url: str, name: str, virtual: bool) -> None:
    assert bucket(endpoint_url, name).virtual_host_style is virtual


def test_trap_23_a_bucket_is_frozen_and_keeps_its_keys_to_itself() -> None:
    assert "AKIA" not in repr(bucket())
    assert "wJalr" not in repr(bucket())
    with pytest.raises(dataclasses.FrozenInstanceError):
        bucket().name = "other"  # type: ignore[misc]
