"""One person with aiortc: publishes a tone and a coloured picture by WHIP, or plays by WHEP and reports what it receives (media.py).

Arguments: URL, token, tone in hertz, colour as "red,green,blue". A URL that ends with /whip publishes, any other plays.
"""

import asyncio
import sys

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

import whip
from aiortc_media import Picture, Tone, watch
from media import Seen, orders, tell


async def negotiate(connection: RTCPeerConnection, session: whip.Session, url: str) -> None:
    """aiortc knows its candidates before it offers; they are sent later all the same, as other clients do."""
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    answer = await asyncio.to_thread(session.begin, url, whip.without_candidates(offer))
    await connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
    await asyncio.to_thread(session.trickle, whip.credentials(offer), whip.candidates(offer))


async def main() -> None:
    url, token, hertz, colour = sys.argv[1:5]
    # With no configuration it asks a STUN server on the Internet.
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    session, seen, tasks = whip.Session(token), Seen(), set()
    if url.endswith("/whip"):
        connection.addTransceiver(Tone(float(hertz)), direction="sendonly")
        connection.addTransceiver(Picture([int(part) for part in colour.split(",")]), direction="sendonly")
    else:
        for kind in ("audio", "video"):
            connection.addTransceiver(kind, direction="recvonly")
        connection.on("track", lambda track: tasks.add(asyncio.create_task(watch(track, seen))))
    await negotiate(connection, session, url)
    tasks.add(asyncio.create_task(tell(lambda: {"connection": connection.connectionState, "seen": seen.report()})))
    async for _ in orders():
        pass
    await asyncio.to_thread(session.end)
    for task in tasks:
        task.cancel()
    await connection.close()


asyncio.run(main())
