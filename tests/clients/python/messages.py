"""anthropic-python against the gateway in front of the simulator.

Environment: ANTHROPIC (the gateway, without /v1), API_KEY, LIMITED_KEY (one call a day).
"""

import json
import os
import time
import urllib.request

import anthropic
from anthropic import Anthropic

MODEL = "grok-4.6"
BASE = os.environ["ANTHROPIC"]
client = Anthropic(base_url=BASE, api_key=os.environ["API_KEY"], max_retries=0, timeout=30)
TESTS = []
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test(function):
    TESTS.append(function)
    return function


def raises(kind, call):
    try:
        call()
    except kind as error:
        assert type(error) is kind, f"{type(error)} instead of {kind}: {error}"
        return error
    raise AssertionError(f"nothing was raised instead of {kind}")


def ask(text):
    return [{"role": "user", "content": text}]


def create(text="Hello", **more):
    return client.messages.create(**{"model": MODEL, "max_tokens": 500, "messages": ask(text), **more})


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


@test
def message():
    answer = create("What is a gateway?", system="Be brief.")
    assert answer.type == "message" and answer.role == "assistant" and answer.stop_reason == "end_turn"
    assert "What is a gateway?" in text_of(answer)
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    assert answer._request_id


@test
def both_auth_headers():
    body = {"model": MODEL, "max_tokens": 50, "messages": ask("Hello")}
    for headers in ({"x-api-key": os.environ["API_KEY"]}, {"Authorization": "Bearer " + os.environ["API_KEY"]}):
        for version in ("2023-06-01", "2026-10-21"):
            sent = {**headers, "anthropic-version": version, "content-type": "application/json"}
            request = urllib.request.Request(BASE + "/v1/messages", data=json.dumps(body).encode(), headers=sent)
            with urllib.request.urlopen(request, timeout=10) as got:
                assert json.load(got)["type"] == "message" and got.headers["request-id"]


@test
def raw_events():
    kinds = [event.type for event in create("Count to ten", stream=True)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2, kinds


@test
def stream_helper_and_thinking():
    with client.messages.stream(
        model=MODEL,
        max_tokens=2000,
        messages=ask("Why is the sky blue?"),
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(final) and "Why is the sky blue?" in text
    thinking = final.content[0]
    assert thinking.type == "thinking" and thinking.thinking and thinking.signature
    assert final.usage.output_tokens > 0
    # And back with it.
    said = ask("Why is the sky blue?") + [{"role": "assistant", "content": final.content}] + ask("And at night?")
    assert "And at night?" in text_of(create(messages=said))


@test
def tools():
    said = ask("What is the weather in Paris?")
    first = create(messages=said, tools=[WEATHER])
    assert first.stop_reason == "tool_use"
    (call,) = [block for block in first.content if block.type == "tool_use"]
    assert call.name == "get_weather" and call.input == {"city": "Paris"}
    said += [
        {"role": "assistant", "content": first.content},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": call.id, "content": "22 degrees"},
                {"type": "text", "text": "Answer in one line."},
            ],
        },
    ]
    second = create(messages=said, tools=[WEATHER])
    assert second.stop_reason == "end_turn" and "According to get_weather: 22 degrees" in text_of(second)
    with client.messages.stream(
        model=MODEL, max_tokens=500, messages=ask("What is the weather in Oslo?"), tools=[WEATHER]
    ) as stream:
        final = stream.get_final_message()
    (call,) = [block for block in final.content if block.type == "tool_use"]
    assert call.input == {"city": "Oslo"}, call


@test
def a_model_that_is_served_over_responses_only():
    call = dict(model="grok-4.20-multi-agent", max_tokens=500, system="Be brief.", messages=ask("What is a gateway?"))
    answer = client.messages.create(**call)
    assert "gateway" in text_of(answer) and answer.stop_reason == "end_turn", answer
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    with client.messages.stream(**call) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(final) == text_of(answer), text
    assert final.usage.output_tokens == answer.usage.output_tokens
    error = raises(anthropic.BadRequestError, lambda: client.messages.create(stop_sequences=["x"], **call))
    assert "stop_sequences" in str(error), error


@test
def pictures_and_stops():
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}}
    answer = create(messages=[{"role": "user", "content": [picture, {"type": "text", "text": "What is this?"}]}])
    assert "the picture you sent" in text_of(answer)
    short = create("Tell me a story", max_tokens=5)
    assert short.stop_reason == "max_tokens"
    stopped = create("Tell me a story", model="grok-4.3", stop_sequences=["story"])
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == "story"


@test
def cache_fields():
    metadata = {"user_id": "somebody"}
    first = create("A long question about the cache", metadata=metadata)
    second = create("A long question about the cache", metadata=metadata)
    assert first.usage.cache_read_input_tokens == 0 and second.usage.cache_read_input_tokens > 0
    assert second.usage.input_tokens < first.usage.input_tokens


@test
def count_tokens():
    few = client.messages.count_tokens(model=MODEL, messages=ask("Hello"))
    many = client.messages.count_tokens(model=MODEL, messages=ask("Hello " * 100), system="Be brief.", tools=[WEATHER])
    assert 0 < few.input_tokens < 10 and 100 < many.input_tokens < 300, (few, many)


@test
def models():
    page = client.models.list(limit=2)
    assert len(page.data) == 2 and page.has_more and page.data[0].type == "model", page
    every = [model.id for model in client.models.list(limit=2)]
    assert MODEL in every and len(every) == len(set(every)) > 4, every
    one = client.models.retrieve(MODEL)
    assert one.id == MODEL and one.display_name and one.created_at


@test
def errors():
    wrong = client.with_options(api_key="sk-nobody-has-this-key")
    error = raises(
        anthropic.AuthenticationError,
        lambda: wrong.messages.create(model=MODEL, max_tokens=9, messages=ask("Hello")),
    )
    assert error.body["error"]["type"] == "authentication_error" and error.request_id, error.body
    error = raises(anthropic.NotFoundError, lambda: create(model="no-such-model"))
    assert error.body["error"]["type"] == "not_found_error", error.body
    error = raises(anthropic.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    assert error.body["error"]["type"] == "not_found_error", error.body
    error = raises(anthropic.BadRequestError, lambda: create(messages=[]))
    assert error.body["error"]["type"] == "invalid_request_error" and "messages" in str(error), error.body
    error = raises(anthropic.BadRequestError, lambda: create(max_tokens=0))
    assert "max_tokens" in str(error), error.body
    error = raises(
        anthropic.BadRequestError,
        lambda: create(messages=[{"role": "user", "content": [{"type": "nonsense"}]}]),
    )
    assert error.body["error"]["type"] == "invalid_request_error" and "messages[0]" in str(error), error.body
    error = raises(anthropic.BadRequestError, lambda: create("[[sim:error=ctx-too-long]]"))
    assert error.body["error"]["type"] == "invalid_request_error", error.body
    error = raises(anthropic.OverloadedError, lambda: create("[[sim:error=capacity-429]]"))
    assert error.status_code == 529 and error.body["error"]["type"] == "overloaded_error", error.body
    assert "retry-after" in error.response.headers, error.response.headers
    error = raises(anthropic.InternalServerError, lambda: create("[[sim:error=internal-500]]"))
    assert error.body["error"]["type"] == "api_error", error.body
    limited = client.with_options(api_key=os.environ["LIMITED_KEY"])
    one = lambda: limited.messages.create(model=MODEL, max_tokens=9, messages=ask("Only once"))
    one()
    error = raises(anthropic.RateLimitError, one)
    assert error.body["error"]["type"] == "rate_limit_error" and int(error.response.headers["retry-after"]) <= 120


@test
def capacity_as_the_first_event_goes_to_another_team():
    events = list(create("[[sim:event_error=messages-error-event;times=1]] Hello again", stream=True))
    assert events[0].type == "message_start" and events[-1].type == "message_stop", events


@test
def failure_in_the_stream():
    for magic in ("[[sim:event_error=messages-error-event;event_at=8]]", "[[sim:cut=8]]"):
        seen = []
        try:
            for event in create(magic + " Hello", stream=True):
                seen.append(event.type)
        except anthropic.APIStatusError as error:
            assert error.body["type"] == "error" and error.body["error"]["message"], error.body
        else:
            raise AssertionError(f"the stream ended silently: {seen}")
        assert seen[0] == "message_start", seen


for one in TESTS:
    began = time.monotonic()
    one()
    print(f"ok {one.__name__} ({time.monotonic() - began:.2f} s)", flush=True)
print(f"anthropic-python {anthropic.__version__}: {len(TESTS)} passed")
