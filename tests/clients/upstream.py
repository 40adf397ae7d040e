#!/usr/bin/env python3
"""An upstream written from xAI's public description alone, for judging the gateway.

It shares no code and no author's assumptions with the simulator inside the program: plain asyncio, one file. It counts
every arrival per team and model on its own monotonic clock, the refused ones too, and says how many fell into the fullest
sliding window.

    upstream.py DESCRIPTION.json [PORT]

    {"teams": [{"id": "...", "keys": ["xai-..."], "limits": {"rps": 5, "rpm": 100}}],
     "models": ["grok-4.6"], "pace_ms": 0}

Its own controls:
    GET  /-/arrivals                          totals and fullest windows per team and model
    GET  /-/keys                              chat calls per key
    POST /-/fail {"key": ..., "error": ...}   that key's chat calls end so until POST /-/heal {}
    GET  /-/errors                            the names of all endings
    POST /-/reset {}                          forgets the counts
"""

import asyncio
import collections
import json
import sys
import time
import uuid

CONSOLE = "https://console.x.ai"
BROKE = (
    "Your team {team} has either used all available credits or reached its monthly spending limit. "
    "To continue making API requests, please purchase more credits or raise your spending limit."
)
UNFUNDED = (
    "Your newly created team doesn't have any credits or licenses yet. "
    "You can purchase those on " + CONSOLE + "/team/{team}."
)
BAD_KEY = "Incorrect API key provided: {key}. You can obtain an API key from " + CONSOLE + "."
LIMIT = (
    "Too many requests for team {team} and model {model}. Your team's rate limit is \u2014 {detail}. "
    "Your rate limit tier is determined by your cumulative spend."
)
CAPACITY = (
    "The model is currently at capacity due to high demand. Please try again in a few minutes or use a different model."
)
DOWN = "Service temporarily unavailable. The model did not respond to this request."


def flat(status, code, text):
    return status, {}, {"code": code, "error": text}


# Endings of a call that are the key's, the team's or the upstream's fault, never the client's.
ERRORS = {
    "bad-key-old": flat(400, "Client specified an invalid argument", BAD_KEY),
    "bad-key-new": flat(400, "invalid-argument", BAD_KEY),
    "no-credentials-new": flat(401, "unauthenticated:no-credentials", "No credentials provided"),
    "no-credentials-old": (
        401,
        {},
        {"error": {"code": 401, "message": "No or an invalid authentication header was provided."}},
    ),
    "oauth-bad": flat(403, "unauthenticated:bad-credentials", "The OAuth2 access token could not be validated."),
    "team-no-credit-old": flat(
        403, "The caller does not have permission to execute the specified operation", UNFUNDED
    ),
    "team-no-credit-new": flat(403, "permission-denied", UNFUNDED),
    "credits-exhausted-429": flat(429, "Some resource has been exhausted", BROKE),
    "credits-exhausted-403": flat(403, "permission-denied", BROKE),
    "key-blocked-leak": flat(
        403, "permission-denied", "API key is currently blocked: Blocked due to API key leak"
    ),
    "model-missing-404": flat(
        404,
        "not-found",
        "The model {model} does not exist or your team {team} does not have access to it. "
        "Please ensure you're using the correct model name.",
    ),
    "model-missing-400": flat(400, "Client specified an invalid argument", "Model not found: {model}"),
    "rate-rps": flat(
        429, "resource-exhausted", LIMIT.replace("{detail}", "Requests per Second (actual/limit): 2/2")
    ),
    "rate-rps-rpm": flat(
        429,
        "resource-exhausted",
        LIMIT.replace(
            "{detail}",
            "Requests per Second (actual/limit): 2/2, Requests per Minute (actual/limit): 1922/60",
        ),
    ),
    "capacity-429": flat(429, "resource-exhausted", CAPACITY),
    "unavailable-503": flat(503, "The service is currently unavailable", DOWN),
    "internal-500": flat(500, "internal", "Internal server error."),
    "bad-gateway-502": (502, {}, ""),
    "overloaded-529": (529, {}, ""),
    "cloudflare-522": (
        522,
        {"retry-after": "60", "server": "cloudflare", "content-type": "text/html"},
        "<!DOCTYPE html><html><head><title>api.x.ai | 522: Connection timed out</title></head><body></body></html>",
    ),
}
# Endings that are no answer at all, or one that begins well.
ODD = [
    "event-flat",
    "event-openai-error",
    "event-capacity",
    "event-numeric",
    "closed-before-head",
    "closed-after-head",
]
FIRST_EVENTS = {
    "event-flat": ["data: " + json.dumps({"code": "The service is currently unavailable", "error": DOWN})],
    "event-openai-error": ["data: " + json.dumps({"error": {"message": DOWN, "type": "server_error", "code": None}})],
    "event-capacity": [
        "event: error",
        "data: "
        + json.dumps({"sequence_number": 0, "type": "error", "code": None, "message": CAPACITY, "param": None}),
    ],
    "event-numeric": [
        "data: " + json.dumps({"type": "error", "code": 503, "message": "Service temporarily unavailable"})
    ],
}
REASONS = {200: "OK", 202: "Accepted", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


class Windows:
    """Arrival times and the fullest sliding window of each length that was asked for."""

    def __init__(self, lengths):
        self.lengths = lengths
        self.times = {length: collections.deque() for length in lengths}
        self.fullest = {length: 0 for length in lengths}
        self.total = 0
        self.refused = 0
        self.first = self.last = None

    def arrive(self, now):
        self.total += 1
        self.first = now if self.first is None else self.first
        self.last = now
        for length, times in self.times.items():
            times.append(now)
            # The window that ends here is (now - length, now].
            while times[0] <= now - length:
                times.popleft()
            self.fullest[length] = max(self.fullest[length], len(times))

    def inside(self, length):
        return len(self.times[length])


class Upstream:
    def __init__(self, description):
        self.models = description.get("models", ["grok-4.7", "grok-4.6", "grok-4.3"])
        self.pace = description.get("pace_ms", 0) / 1000
        self.keys = {}
        self.limits = {}
        for team in description["teams"]:
            self.limits[team["id"]] = team.get("limits", {})
            for key in team["keys"]:
                self.keys[key] = team["id"]
        self.failing = {}
        self.reset()

    def reset(self):
        self.windows = {}
        self.chats = collections.Counter()
        self.in_flight = self.most_in_flight = 0

    def windows_of(self, team, model):
        if (team, model) not in self.windows:
            self.windows[team, model] = Windows([1.0, 10.0, 60.0])
        return self.windows[team, model]

    # -- what the API answers ------------------------------------------------------------------------------------

    def refusal(self, name, team, model, key):
        status, headers, body = ERRORS[name]
        if isinstance(body, str):
            return status, headers, body.encode()
        text = json.dumps(body)
        for word, value in (("{team}", team), ("{model}", model), ("{key}", key[:2] + "***" + key[-2:])):
            text = text.replace(word, value)
        return status, {"content-type": "application/json", **headers}, text.encode()

    def over(self, team, windows):
        limits = self.limits[team]
        told = []
        for name, length, label in (("rps", 1.0, "Requests per Second"), ("rpm", 60.0, "Requests per Minute")):
            if name in limits and windows.inside(length) > limits[name]:
                told.append(f"{label} (actual/limit): {windows.inside(length)}/{limits[name]}")
        return ", ".join(told)

    async def chat(self, key, body, reply):
        team = self.keys.get(key)
        try:
            request = json.loads(body)
        except ValueError as error:
            text = f"Failed to parse the request body as JSON: {error}".encode()
            return await reply.whole(400, {"content-type": "text/plain; charset=utf-8"}, text)
        model = request.get("model", "")
        if team is None:
            return await reply.whole(*self.refusal("bad-key-new", "", model, key or "none"))
        self.chats[key] += 1
        windows = self.windows_of(team, model)
        windows.arrive(time.monotonic())
        over = self.over(team, windows)
        if over:
            windows.refused += 1
            status, headers, text = self.refusal("rate-rps", team, model, key)
            said = LIMIT.replace("{team}", team).replace("{model}", model).replace("{detail}", over)
            return await reply.whole(
                status, headers, json.dumps({"code": "resource-exhausted", "error": said}).encode()
            )
        failing = self.failing.get(key)
        if failing == "closed-before-head":
            return await reply.hang_up()
        if failing in ERRORS:
            return await reply.whole(*self.refusal(failing, team, model, key))
        stream = request.get("stream") is True
        if failing == "closed-after-head" or failing in FIRST_EVENTS and not stream:
            if not stream:
                return await reply.whole(*self.refusal("unavailable-503", team, model, key))
            await reply.head(200, {"content-type": "text/event-stream"})
            return await reply.hang_up()
        if failing in FIRST_EVENTS:
            await reply.head(200, {"content-type": "text/event-stream"})
            await reply.piece(("\n".join(FIRST_EVENTS[failing]) + "\n\n").encode())
            return await reply.end()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await (self.answer_stream if stream else self.answer_whole)(request, model, reply)
        finally:
            self.in_flight -= 1

    def words(self, request):
        content = request["messages"][-1].get("content") or ""
        if not isinstance(content, str):
            content = " ".join(part.get("text", "") for part in content)
        return ["You ", "said: "] + [word + " " for word in content.split()[:64]] + ["and ", "that ", "is ", "all."]

    def usage(self, request, said):
        prompt = len(json.dumps(request["messages"])) // 4
        return {
            "prompt_tokens": prompt,
            "completion_tokens": len(said),
            "total_tokens": prompt + len(said),
            "prompt_tokens_details": {"text_tokens": prompt, "cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
            "num_sources_used": 0,
            "cost_in_usd_ticks": prompt * 20_000 + len(said) * 60_000,
        }

    def frame(self, model, kind, choices):
        return {
            "id": str(uuid.uuid4()),
            "object": kind,
            "created": int(time.time()),
            "model": model,
            "choices": choices,
            "system_fingerprint": "fp_python",
        }

    async def answer_whole(self, request, model, reply):
        said = self.words(request)
        if self.pace:
            await asyncio.sleep(self.pace * len(said))
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(said), "refusal": None},
            "finish_reason": "stop",
        }
        answer = self.frame(model, "chat.completion", [choice])
        answer["usage"] = self.usage(request, said)
        await reply.whole(200, {"content-type": "application/json"}, json.dumps(answer).encode())

    async def answer_stream(self, request, model, reply):
        said = self.words(request)
        await reply.head(200, {"content-type": "text/event-stream"})
        frame = self.frame(model, "chat.completion.chunk", [])

        async def event(choices, **more):
            await reply.piece(b"data: " + json.dumps({**frame, "choices": choices, **more}).encode() + b"\n\n")

        await event([{"index": 0, "delta": {"role": "assistant", "content": ""}}])
        for word in said:
            if self.pace:
                await asyncio.sleep(self.pace)
            await event([{"index": 0, "delta": {"content": word}}])
        await event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if (request.get("stream_options") or {}).get("include_usage"):
            await event([], usage=self.usage(request, said))
        await reply.piece(b"data: [DONE]\n\n")
        await reply.end()

    async def route(self, method, path, key, body, reply):
        team = self.keys.get(key)
        as_json = {"content-type": "application/json"}
        if path.startswith("/-/"):
            status, value = self.control(method, path[3:], body)
            return await reply.whole(status, as_json, json.dumps(value).encode())
        if path == "/v1/chat/completions" and method == "POST":
            return await self.chat(key, body, reply)
        if team is None:
            return await reply.whole(*self.refusal("bad-key-new", "", "", key or "none"))
        if path == "/v1/api-key":
            about = {
                "redacted_api_key": "xai-..." + key[-4:],
                "user_id": str(uuid.uuid5(uuid.NAMESPACE_OID, team)),
                "name": "key of the other upstream",
                "create_time": "2026-01-01T00:00:00Z",
                "modify_time": "2026-01-01T00:00:00Z",
                "modified_by": "",
                "team_id": team,
                "acls": ["api-key:endpoint:*", "api-key:model:*"],
                "api_key_id": str(uuid.uuid5(uuid.NAMESPACE_OID, key)),
                "team_blocked": False,
                "api_key_blocked": False,
                "api_key_disabled": False,
            }
            return await reply.whole(200, as_json, json.dumps(about).encode())
        if path in ("/v1/models", "/v1/language-models"):
            rows = [
                {"id": model, "object": "model", "created": 1_780_000_000, "owned_by": "xai", "aliases": []}
                for model in self.models
            ]
            name = "data" if path == "/v1/models" else "models"
            return await reply.whole(200, as_json, json.dumps({"object": "list", name: rows}).encode())
        missing = {"code": "Some requested entity was not found", "error": "No handler found on route."}
        return await reply.whole(404, as_json, json.dumps(missing).encode())

    # -- controls ------------------------------------------------------------------------------------------------

    def control(self, method, what, body):
        if what == "arrivals":
            rows = []
            for (team, model), windows in sorted(self.windows.items()):
                limits = self.limits[team]
                limit = {1.0: limits.get("rps"), 60.0: limits.get("rpm")}
                rows.append(
                    {
                        "team": team,
                        "model": model,
                        "total": windows.total,
                        "refused": windows.refused,
                        "seconds": (windows.last or 0) - (windows.first or 0),
                        "windows": [
                            {"seconds": length, "fullest": fullest, "limit": limit.get(length)}
                            for length, fullest in windows.fullest.items()
                        ],
                    }
                )
            return 200, {"arrivals": rows, "in_flight": self.in_flight, "most_in_flight": self.most_in_flight}
        if what == "keys":
            return 200, dict(self.chats)
        if what == "errors":
            return 200, list(ERRORS) + ODD
        if method == "POST" and what == "fail":
            wish = json.loads(body)
            if wish["error"] not in ERRORS and wish["error"] not in ODD:
                return 400, {"error": "no such ending"}
            self.failing[wish["key"]] = wish["error"]
            return 200, {}
        if method == "POST" and what == "heal":
            self.failing.clear()
            return 200, {}
        if method == "POST" and what == "reset":
            self.reset()
            return 200, {}
        return 404, {"error": "no such control"}


class Reply:
    """Writes one answer."""

    def __init__(self, writer):
        self.writer = writer
        self.open = True

    def line(self, status, headers, length):
        head = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n"
        for name, value in headers.items():
            head += f"{name}: {value}\r\n"
        return (head + length + "\r\n").encode()

    async def whole(self, status, headers, body):
        self.writer.write(self.line(status, headers, f"content-length: {len(body)}\r\n") + body)
        await self.writer.drain()

    async def head(self, status, headers):
        self.writer.write(self.line(status, headers, "transfer-encoding: chunked\r\n"))
        await self.writer.drain()

    async def piece(self, data):
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def end(self):
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def hang_up(self):
        self.open = False
        self.writer.transport.abort()


async def converse(upstream, reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ", 2)
            headers = {}
            for line in head[1:]:
                name, colon, value = line.partition(":")
                if colon:
                    headers[name.strip().lower()] = value.strip()
            if "chunked" in headers.get("transfer-encoding", ""):
                body = b""
                while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                    body += await reader.readexactly(size)
                    await reader.readexactly(2)
                await reader.readuntil(b"\r\n")
            else:
                body = await reader.readexactly(int(headers.get("content-length", 0)))
            key = headers.get("authorization", "").removeprefix("Bearer ").strip()
            reply = Reply(writer)
            await upstream.route(method, path.split("?")[0], key, body, reply)
            if not reply.open or headers.get("connection", "").lower() == "close":
                return
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        upstream = Upstream(json.load(file))
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    server = await asyncio.start_server(
        lambda reader, writer: converse(upstream, reader, writer), "127.0.0.1", port, limit=1 << 24, backlog=4096
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
