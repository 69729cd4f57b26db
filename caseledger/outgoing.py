"""What this service asks of others over HTTP: witnesses and a time-stamping authority; bounded in time and size."""

import time

import httpx

from application.witness.witnessing import Reply, Send
from domain.errors import Unavailable

MAX_REPLY_BYTES = 1024 * 1024


def sender(timeout_s: float) -> Send:
    """Sends one request, without redirects; the whole answer has to be there within the time.

    A proxy is taken from the environment, as `HTTPS_PROXY` and `NO_PROXY` say.
    """

    def send(url: str, body: bytes | None, media_type: str) -> Reply:
        deadline = time.monotonic() + timeout_s
        try:
            with (
                httpx.Client(timeout=timeout_s, follow_redirects=False) as client,
                client.stream(
                    "GET" if body is None else "POST",
                    url,
                    content=body,
                    headers={} if body is None else {"Content-Type": media_type},
                ) as response,
            ):
                content = bytearray()
                for chunk in response.iter_bytes(16 * 1024):
                    content += chunk
                    # A time-out of the library is for each read: a peer that drips would hold us for ever.
                    if len(content) > MAX_REPLY_BYTES or time.monotonic() > deadline:
                        raise Unavailable("the answer is too large, or too slow")
                return Reply(response.status_code, response.headers.get("content-type", ""), bytes(content))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # Messages of the library may quote the URL.
            raise Unavailable(f"no answer: {type(error).__name__}") from None

    return send
