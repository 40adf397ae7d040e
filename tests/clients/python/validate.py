"""Holds what clients were answered against the specifications of the API: our own, and the vendors' where they are given.

Environment: RECORD (lines of JSON, one exchange each, as `tests/it/support/tap.rs` keeps them), SPECS (a directory that has
the vendors' specifications, or nothing).

What is not as a specification says must be in `tests/clients/deviations.json`, with the reason.
"""

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

from specs import ours, vendors

TERMINAL = {"response.completed", "response.incomplete", "response.failed", "message_stop", "error"}
DEVIATIONS = json.loads((Path(__file__).parent.parent / "deviations.json").read_text())


def is_anthropic(one):
    return one["path"].startswith("/v1/messages") or one["anthropic"]


def is_openai_video(one):
    """Two dialects share these paths: `xai-api.md` section 18."""
    is_form = one["asked_type"].startswith("multipart/")
    return one["path"] == "/v1/videos" or "/video_" in one["path"] or (is_form and one["path"].startswith("/v1/videos/"))


def speaks(spec, one):
    """Whether this answer owes anything to that specification."""
    if spec.name == "own":
        return True
    if spec.name == "anthropic":
        return is_anthropic(one)
    if spec.name == "xai-realtime":
        return one["frames"] is not None and one["path"] == "/v1/realtime"
    if spec.name == "xai" and one["status"] >= 400:
        # Errors are told in the dialect of the client, which is not that of the upstream.
        return False
    if one["path"].startswith("/v1/videos"):
        return is_openai_video(one) == (spec.name == "openai")
    if is_anthropic(one):
        return spec.name == "xai" and one["path"] == "/v1/messages"
    return True


def events(text):
    """(name, data) of each event that came whole."""
    for block in re.split(r"\r?\n\r?\n", text)[:-1]:
        lines = re.split(r"\r?\n", block)
        name = next((line[6:].strip() for line in lines if line.startswith("event:")), None)
        data = "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
        if data:
            yield name, data


def frames(text):
    """What the server said over a WebSocket, in texts."""
    data, at = bytes.fromhex(text), 0
    while at + 2 <= len(data):
        kind, size, at = data[at] & 15, data[at + 1] & 127, at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        if kind == 1 and at + size <= len(data):
            yield data[at : at + size].decode()
        at += size


def stream_rules(one, found):
    """What holds for streams beside the shape of each event."""
    wrong = []
    last = found[-1][1] if found else ""
    if one["path"] in ("/v1/chat/completions", "/v1/completions"):
        if one["is_whole"] and last != "[DONE]" and '"error"' not in last:
            wrong.append(("", "end", f"the stream ends with {last[:100]}"))
        return wrong
    values = [json.loads(data) for _, data in found]
    for (name, _), value in zip(found, values):
        if name != value.get("type"):
            wrong.append(("type", "event", f"`event: {name}` of {value.get('type')}"))
    if one["path"] == "/v1/responses":
        numbers = [value.get("sequence_number") for value in values]
        if numbers != list(range(len(numbers))):
            wrong.append(("sequence_number", "order", f"{numbers[:20]}"))
    if one["path"] in ("/v1/responses", "/v1/messages") and one["is_whole"] and values[-1].get("type") not in TERMINAL:
        wrong.append(("type", "end", f"the stream ends with {last[:100]}"))
    return wrong


def error_schema(spec, one, is_event):
    if spec.name == "own":
        return spec.component("AnthropicError" if is_anthropic(one) and not is_event else "AnthropicErrorEvent" if is_anthropic(one) else "Error")
    return spec.component("ErrorResponse")


def parts(spec, one):
    """(schema, value) of everything in this answer that the specification speaks of."""
    kind = one["type"].split(";")[0]
    if one["frames"] is not None:
        name = {"/v1/realtime": "RealtimeServerEvent", "/v1/responses": "ResponseStreamEvent"}.get(one["path"])
        for value in map(json.loads, frames(one["frames"])):
            yield spec.event(value) if spec.name == "xai-realtime" else spec.component(name), value
        return
    if one["answer"] is None or not (one["is_whole"] or kind == "text/event-stream"):
        return
    if one["status"] >= 400:
        yield error_schema(spec, one, False), json.loads(one["answer"])
        return
    schema = spec.schema(one["method"], one["path"], one["status"], kind)
    if kind == "application/json" and schema:
        yield schema, json.loads(one["answer"])
    if kind != "text/event-stream":
        return
    for name, data in events(one["answer"]):
        if data == "[DONE]":
            continue
        value = json.loads(data)
        if name == "error" or (name is None and "error" in value and "choices" not in value):
            if one["path"] != "/v1/responses":
                yield error_schema(spec, one, True), value
                continue
        if name == "ping":
            continue
        if schema:
            yield schema, value
        if spec.name == "xai" and isinstance(value.get("response"), dict):
            yield spec.component("ModelResponse"), value["response"]
        if spec.name == "xai" and isinstance(value.get("message"), dict):
            yield spec.component("MessageResponse"), value["message"]


def excused(spec, one, where, rule, what):
    for at, known in enumerate(DEVIATIONS):
        if (
            spec in known["spec"].split()
            and re.fullmatch(known["path"], one["path"])
            and re.fullmatch(known["at"], where)
            and rule in known["rule"].split()
            and re.search(known.get("says", ""), what)
            and known.get("type", "") in one["type"]
        ):
            return at
    return None


def main():
    record = [json.loads(line) for line in open(os.environ["RECORD"])]
    specs = [ours(), *vendors(os.environ.get("SPECS"))]
    held, unknown, known, wrong = Counter(), Counter(), Counter(), Counter()
    shown = {}

    def note(spec, one, found, value):
        for where, rule, what in found:
            at = excused(spec, one, where, rule, what)
            if at is not None:
                known[at] += 1
                continue
            key = (spec, one["method"], re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27,}", "{id}", one["path"]), one["status"], where, rule, what[-160:])
            wrong[key] += 1
            shown.setdefault(key, json.dumps(value)[:600])

    for one in record:
        kind = one["type"].split(";")[0]
        if kind == "text/event-stream" and one["answer"]:
            note("own", one, stream_rules(one, list(events(one["answer"]))), one["answer"][-300:])
        if one["path"].startswith("/v1/") and not one["request_id"]:
            note("own", one, [("", "header", "no x-request-id")], None)
        if is_anthropic(one) and not one["anthropic_request_id"]:
            note("own", one, [("", "header", "no request-id")], None)
        is_held = False
        for spec in specs:
            if not speaks(spec, one):
                continue
            for schema, value in parts(spec, one):
                if schema is None:
                    continue
                is_held = True
                held[spec.name] += 1
                note(spec.name, one, spec.wrong(schema, value), value)
        if not is_held and kind in ("application/json", "text/event-stream") and one["is_whole"]:
            unknown[f"{one['method']} {one['path']} {one['status']}"] += 1
    for (spec, method, path, status, where, rule, what), count in wrong.most_common(80):
        print(f"{spec}: {method} {path} {status}: /{where} {rule}: {what} ({count} times)")
        print("   ", shown[spec, method, path, status, where, rule, what])
    for route, count in unknown.items():
        print(f"no specification speaks of {route} ({count} times)")
    for at, count in sorted(known.items()):
        print(f"known: {DEVIATIONS[at]['spec']} {DEVIATIONS[at]['at']} {DEVIATIONS[at]['why']} ({count} times)")
    print(f"{len(record)} answers; held against {dict(held)}; {sum(known.values())} known deviations, {sum(wrong.values())} others")
    sys.exit(1 if wrong or unknown else 0)


main()
