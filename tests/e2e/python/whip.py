"""The HTTP half of WHIP (RFC 9725) and WHEP, for clients that bring a peer connection. Everything here blocks."""

import re
import urllib.error
import urllib.request
from urllib.parse import urljoin

TIMEOUT = 10


class Session:
    """A place in a room, from the POST of an offer until DELETE."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.url = ""
        self.tag = ""

    def begin(self, endpoint: str, offer: str) -> str:
        """Returns the server's answer."""
        response = self.request("POST", endpoint, offer, {"content-type": "application/sdp"})
        self.url = urljoin(endpoint, response.headers["location"])
        self.tag = response.headers["etag"]
        return response.read().decode()

    def trickle(self, credentials: list[str], candidates: list[str]) -> None:
        """Tells candidates that were found after the offer. Both are lines of SDP."""
        headers = {"content-type": "application/trickle-ice-sdpfrag", "if-match": self.tag}
        status = self.request("PATCH", self.url, "".join(f"{line}\r\n" for line in credentials + candidates), headers).status
        if status != 204:
            raise RuntimeError(f"PATCH of candidates: {status}")

    def end(self) -> None:
        self.request("DELETE", self.url)

    def request(self, method: str, url: str, body: str | None = None, headers: dict[str, str] = {}):
        """A status that is an error is an exception with the server's sentence."""
        authorized = {"authorization": f"Bearer {self.token}", **headers}
        request = urllib.request.Request(url, data=body.encode() if body else None, headers=authorized, method=method)
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method}: {error.code}: {error.read().decode()}") from error


def candidates(sdp: str) -> list[str]:
    """The lines with candidates."""
    return re.findall(r"^a=candidate:.*?(?=\r?$)", sdp, re.MULTILINE)


def credentials(sdp: str) -> list[str]:
    """The ICE credentials of the first section, of all in a bundle."""
    return [re.search(rf"^a={name}:.*?(?=\r?$)", sdp, re.MULTILINE)[0] for name in ("ice-ufrag", "ice-pwd")]


def without_candidates(sdp: str) -> str:
    """Nor the line that says that there are no more."""
    return re.sub(r"^a=(candidate:.*|end-of-candidates)\r?\n", "", sdp, flags=re.MULTILINE)
