"""The stock server SDK: calls methods of RoomService as standard input asks.

Arguments: URL. Each line of input is JSON: {"method": "create_room", "message": "CreateRoomRequest", "fields": {…}}. For each there is
one line of output: {"answer": {…}}, where a method answers nothing {"answer": {}}, or {"error": {"code": …, "status": …}}.
"""

import asyncio
import json
import sys

from google.protobuf import json_format
from livekit import api


async def call(rooms, asked: dict) -> dict:
    request = json_format.ParseDict(asked["fields"], getattr(api, asked["message"])())
    try:
        answer = await getattr(rooms, asked["method"])(request)
    except api.ServerError as error:
        return {"error": {"code": error.code, "status": error.status}}
    return {"answer": json_format.MessageToDict(answer) if answer is not None else {}}


async def main() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with api.LiveKitAPI(sys.argv[1], "devkey", "secret") as server:
        while line := await reader.readline():
            print(json.dumps(await call(server.room, json.loads(line))), flush=True)


asyncio.run(main())
