"""openai-python while one of three keys answers every error of the table in turn: nothing of it may be seen.

Every error gets a key and team of its own: what the gateway learns of a limit must not keep it from trying the next.

Environment: GATEWAY (…/v1), API_KEY, ADMIN (…/api/v1/admin), ADMIN_TOKEN, UPSTREAM, SPARE_KEYS (with commas).
"""

import json
import os
import time
import urllib.request

import openai
from openai import OpenAI

client = OpenAI(base_url=os.environ["GATEWAY"], api_key=os.environ["API_KEY"], max_retries=0, timeout=30)
SPARES = iter(os.environ["SPARE_KEYS"].split(","))


def call(url, body=None, token=None):
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = "Bearer " + token
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers), timeout=30) as response:
        return json.load(response)


def upstream(path, body=None):
    return call(os.environ["UPSTREAM"] + "/-/" + path, body)


def admin(path, body=None):
    return call(os.environ["ADMIN"] + path, body, os.environ["ADMIN_TOKEN"])


def one_call(at, stream):
    ask = [{"role": "user", "content": f"number {at} of many"}]
    answer = client.chat.completions.create(model="grok-4.6", messages=ask, stream=stream)
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content
    assert f"number {at} of many" in text, text


def another_key(last):
    """The pool is the two that are well, and one that has never been used."""
    if last:
        admin("/tokens/delete", {"tokens": [last]})
    secret = next(SPARES)
    admin("/tokens", {"apiKey": [{"token": secret}]})
    end = time.monotonic() + 30
    while True:
        tokens = admin("/tokens?limit=100")["items"]
        if len(tokens) == 3 and all(one["state"] == "active" and one["team"] for one in tokens):
            return secret
        assert time.monotonic() < end, tokens
        time.sleep(0.02)


at = 0
met = 0
bad = None
for name in upstream("errors"):
    for stream in (False, True):
        bad = another_key(bad)
        upstream("fail", {"key": bad, "error": name})
        for _ in range(60):
            at += 1
            try:
                one_call(at, stream)
            except openai.OpenAIError as error:
                raise AssertionError(f"{name} (stream={stream}) was seen by the client: {error!r}") from error
            if upstream("keys").get(bad, 0) > 0:
                met += 1
                break
        else:
            raise AssertionError(f"{name}: the bad key was never tried in 60 calls")
        # With the key resting, or not: the next ones are served as well.
        for _ in range(3):
            at += 1
            one_call(at, stream)
print(f"openai-python {openai.__version__}: {at} calls, {met} of them met an error, none was seen")
