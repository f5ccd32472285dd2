"""What the server does before its first request and after its last one, as registered by the product."""

import structlog

from core.body_limit import Application, Receive, Scope, Send
from core.registry import registry

log = structlog.get_logger(__name__)


def with_lifespan(application: Application) -> Application:
    """`application`, answering the server's start and stop messages; Django itself knows only requests."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await application(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                for start in registry.on_start:
                    await start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                for stop in registry.on_stop:
                    await stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    return served
