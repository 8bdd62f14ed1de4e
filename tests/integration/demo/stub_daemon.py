"""
Stands in for the daemon in tests of the stage: same settings file, port, token and messages, no brains.

Opens an incident at the first 503 of the access log, names the cause given as the first argument (if any), and resolves
two seconds after the last 503.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from aiops.demo import stage, wire


async def watch(log: Path, tell, cause: str) -> None:
    last_503_s, opened = None, False
    with log.open() as file:
        while True:
            for line in file:
                if json.loads(line)["st"] == 503:
                    last_503_s = time.monotonic()
            if last_503_s is not None and not opened:
                opened = True
                await tell("opened", "")
                if cause:
                    await tell("updated", cause)
            if opened and time.monotonic() - last_503_s > 2:
                await tell("resolved", cause)
                return
            await asyncio.sleep(0.05)


async def main(cause: str, settings: dict[str, Any]) -> None:
    (Path(settings["state"]["dir"]) / "token").write_text("secret\n")
    chat = wire.Client(int(settings["notify"]["receivers"][0]["url"].rstrip("/").rsplit(":", 1)[1]))
    events = []

    async def handle(request: wire.Request) -> wire.Reply:
        if request.path == "/api/v1/events":
            events.append(request.json())
            return wire.as_json({}, 202 if request.headers.get("authorization") == "Bearer secret" else 401)
        return wire.as_json({"ready": True})

    async def tell(change: str, named: str) -> None:
        facts = {"incident": "inc-1"} | ({"cause": named, "probability": "0.9"} if named else {})
        await chat.call("POST", "/", {"change": change, "title": f"{change} {named}", "text": "…", "incident": facts})

    server = await wire.serve(handle, int(settings["web"]["listen"].rsplit(":", 1)[1]))
    log = Path(settings["collect"]["access_log"]["paths"][0])
    async with stage.background(watch(log, tell, cause)):
        await server.serve_forever()


cause, _, path = sys.argv[1:] if len(sys.argv) == 4 else ("", *sys.argv[1:])
asyncio.run(main(cause, yaml.safe_load(Path(path).read_text())))
