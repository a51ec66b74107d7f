"""Keys and credentials for the provider doubles: a key, AWS credentials with their signature check, Google's."""

from __future__ import annotations

import datetime

from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from google.auth import credentials as google_credentials

KEY = "canary-7d1f0a93b2c4e586"
AWS = Credentials("AKIDEXAMPLE", f"{KEY}-aws", f"{KEY}-session")
REGION = "us-west-2"


class Google(google_credentials.Credentials):
    """Credentials that expire after each use and are renewed without a network: ``token-1``, ``token-2``, ..."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.renewed = 0

    def refresh(self, request: object) -> None:
        self.renewed += 1
        self.token = f"ya29.{KEY}-token-{self.renewed}"
        self.expiry = datetime.datetime(2000, 1, 1)


async def signed_by_us(request: web.Request, sent: str) -> bool:
    """Sign the request again with botocore, at the time that it names, and compare."""
    if not sent.startswith("AWS4-HMAC-SHA256 ") or f"/{REGION}/bedrock-mantle/aws4_request" not in sent:
        return False
    names = sent.split("SignedHeaders=")[1].split(",")[0].split(";")
    ours = AWSRequest(
        method=request.method,
        url=str(request.url),
        data=await request.read(),
        headers={name: request.headers[name] for name in names if name != "host"},
    )
    ours.context["timestamp"] = request.headers["X-Amz-Date"]
    ours.context["payload_signing_enabled"] = True
    signer = SigV4Auth(AWS, "bedrock-mantle", REGION)
    canonical = signer.canonical_request(ours)
    signature = signer.signature(signer.string_to_sign(ours, canonical), ours)
    return bool(sent.endswith(f"Signature={signature}"))
