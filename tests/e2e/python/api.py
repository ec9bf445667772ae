"""The stock server SDK: calls its methods as standard input asks.

Arguments: URL. Each line of input is JSON: {"method": "create_room", "message": "CreateRoomRequest", "fields": {…}}, for a method that
takes values {"method": …, "values": […]}; {"service": "agent_dispatch"} beside it, where it is not RoomService. For each there is
one line of output: {"answer": {…}}, where a method answers nothing {"answer": {}}, or {"error": {"code": …, "status": …}}.
"""

import asyncio
import json
import sys

from google.protobuf import json_format
from livekit import api


async def call(server: api.LiveKitAPI, asked: dict) -> dict:
    values = asked.get("values")
    if values is None:
        values = [json_format.ParseDict(asked["fields"], getattr(api, asked["message"])())]
    try:
        answer = await getattr(getattr(server, asked.get("service", "room")), asked["method"])(*values)
    except api.ServerError as error:
        return {"error": {"code": error.code, "status": error.status}}
    if isinstance(answer, list):
        return {"answer": [json_format.MessageToDict(one) for one in answer]}
    return {"answer": json_format.MessageToDict(answer) if answer is not None else {}}


async def main() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with api.LiveKitAPI(sys.argv[1], "devkey", "secret") as server:
        while line := await reader.readline():
            print(json.dumps(await call(server, json.loads(line))), flush=True)


asyncio.run(main())
