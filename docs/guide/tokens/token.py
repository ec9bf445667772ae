"""Prints a token: token.py NAME ROOM. Needs nothing but Python; the package livekit-api does the same."""

import base64
import hashlib
import hmac
import json
import os
import sys
import time

KEY, SECRET = os.environ.get("STOA_KEY", "devkey"), os.environ.get("STOA_SECRET", "secret")


def part(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(name: str, room: str) -> str:
    claims = {"iss": KEY, "sub": name, "exp": int(time.time()) + 3600, "video": {"roomJoin": True, "room": room}}
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(SECRET.encode(), signed, hashlib.sha256))).decode()


print(token(sys.argv[1], sys.argv[2]))
