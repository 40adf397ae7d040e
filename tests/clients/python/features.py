"""openai-python against the gateway in front of the simulator: what the SDK can do with chat, and what it raises.

Environment: GATEWAY (…/v1), API_KEY, LIMITED_KEY (one chat call a day), SIMULATOR.
"""

import asyncio
import json
import os
import time
import urllib.request

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

GATEWAY = os.environ["GATEWAY"]
API_KEY = os.environ["API_KEY"]
MODEL = "grok-4.6"
client = OpenAI(base_url=GATEWAY, api_key=API_KEY, max_retries=0, timeout=30)
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def ask(text):
    return [{"role": "user", "content": text}]


def simulator(path, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["SIMULATOR"] + "/__sim" + path, data=data, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def raises(kind, call):
    try:
        call()
    except kind as error:
        assert type(error) is kind, f"{type(error)} instead of {kind}: {error}"
        return error
    raise AssertionError(f"nothing was raised instead of {kind}")


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@test
def chat():
    answer = client.chat.completions.create(model=MODEL, messages=ask("What is a gateway?"))
    assert answer.object == "chat.completion" and answer.choices[0].finish_reason == "stop"
    assert len(answer.choices[0].message.content) > 20
    assert answer.usage.total_tokens > answer.usage.prompt_tokens > 0
    assert answer._request_id, "no x-request-id"
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ask("Again"))
    assert raw.headers["x-request-id"] and float(raw.headers["x-grok2api-overhead-ms"]) >= 0


@test
def stream():
    chunks = list(client.chat.completions.create(model=MODEL, messages=ask("Count to ten"), stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len(chunks) >= 20 and len(text) > 20, (len(chunks), text)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices for chunk in chunks), "a usage chunk came that nobody asked for"
    assert all(chunk.usage is None for chunk in chunks)
    asked = list(
        client.chat.completions.create(
            model=MODEL, messages=ask("Count to ten"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert asked[-1].choices == [] and asked[-1].usage.completion_tokens > 0


@test
def stream_helper():
    with client.chat.completions.stream(model=MODEL, messages=ask("Tell me more")) as events:
        kinds = {event.type for event in events}
        final = events.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds
    assert final.choices[0].message.content


@test
def tools():
    call = dict(model=MODEL, tools=[WEATHER], tool_choice="required")
    answer = client.chat.completions.create(messages=ask("What is the weather in Oslo?"), **call)
    wanted = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls" and wanted.function.name == "get_weather"
    assert "city" in json.loads(wanted.function.arguments)
    history = ask("What is the weather in Oslo?") + [
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": wanted.id, "content": "Rain, 7 degrees"},
    ]
    told = client.chat.completions.create(model=MODEL, tools=[WEATHER], messages=history)
    assert told.choices[0].message.content and not told.choices[0].message.tool_calls
    streamed = list(
        client.chat.completions.create(messages=ask("What is the weather in Oslo?"), stream=True, **call)
    )
    calls = [one for chunk in streamed for one in chunk.choices[0].delta.tool_calls or []]
    assert calls and calls[0].function.name == "get_weather"
    assert streamed[-1].choices[0].finish_reason == "tool_calls"


class Step(BaseModel):
    explanation: str
    output: str


class Lesson(BaseModel):
    title: str
    minutes: int
    steps: list[Step]


@test
def parsed_structured_output():
    answer = client.chat.completions.parse(model=MODEL, messages=ask("Teach me fractions"), response_format=Lesson)
    lesson = answer.choices[0].message.parsed
    assert isinstance(lesson, Lesson) and lesson.title, lesson
    with client.chat.completions.stream(
        model=MODEL, messages=ask("Teach me fractions"), response_format=Lesson
    ) as events:
        for _ in events:
            pass
        assert isinstance(events.get_final_completion().choices[0].message.parsed, Lesson)


@test
def parsed_tool_arguments():
    class GetWeather(BaseModel):
        city: str

    answer = client.chat.completions.parse(
        model=MODEL,
        messages=ask("What is the weather in Oslo?"),
        tools=[openai.pydantic_function_tool(GetWeather)],
        tool_choice="required",
    )
    assert isinstance(answer.choices[0].message.tool_calls[0].function.parsed_arguments, GetWeather)


@test
def a_model_that_is_served_over_responses_only():
    call = dict(model="grok-4.20-multi-agent", messages=ask("What is a gateway?"))
    answer = client.chat.completions.create(**call)
    assert "gateway" in answer.choices[0].message.content and answer.usage.completion_tokens > 0, answer
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **call))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == answer.choices[0].message.content and chunks[-1].usage.total_tokens > 0, text
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(stop=["x"], **call))
    assert error.param == "stop" and error.code == "unsupported_parameter", error.body


@test
def models():
    listed = [model.id for model in client.models.list()]
    assert MODEL in listed, listed
    assert client.models.retrieve(MODEL).id == MODEL
    error = raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    assert error.code == "model_not_found", error.body


@test
def two_hundred_at_a_time():
    async def all_of_them():
        async with AsyncOpenAI(base_url=GATEWAY, api_key=API_KEY, max_retries=0, timeout=60) as many:

            async def one(at):
                if at % 2:
                    stream = await many.chat.completions.create(model=MODEL, messages=ask(f"Say {at}"), stream=True)
                    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
                answer = await many.chat.completions.create(model=MODEL, messages=ask(f"Say {at}"))
                return answer.choices[0].message.content

            return await asyncio.gather(*(one(at) for at in range(200)))

    began = time.monotonic()
    answers = asyncio.run(all_of_them())
    assert len(answers) == 200 and all(answers)
    print(f"   200 calls at a time took {time.monotonic() - began:.1f} s")


@test
def error_401():
    wrong = client.with_options(api_key="sk-nobody-has-this-key")
    error = raises(
        openai.AuthenticationError, lambda: wrong.chat.completions.create(model=MODEL, messages=ask("Hello"))
    )
    assert error.code == "invalid_api_key" and error.request_id, error.body


@test
def error_404():
    error = raises(
        openai.NotFoundError,
        lambda: client.chat.completions.create(model="no-such-model", messages=ask("Hello")),
    )
    assert error.code == "model_not_found" and error.type == "invalid_request_error", error.body


@test
def error_400():
    error = raises(
        openai.BadRequestError, lambda: client.chat.completions.create(model=MODEL, messages=ask("Hello"), n=-1)
    )
    assert error.param == "n" and error.type == "invalid_request_error", error.body
    error = raises(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model=MODEL, messages=ask("[[sim:error=ctx-too-long]]")),
    )
    assert error.code == "context_length_exceeded", error.body
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(model=MODEL, messages=[]))
    assert error.param == "messages", error.body


@test
def error_429():
    limited = client.with_options(api_key=os.environ["LIMITED_KEY"])
    limited.chat.completions.create(model=MODEL, messages=ask("The only one today"))
    error = raises(
        openai.RateLimitError, lambda: limited.chat.completions.create(model=MODEL, messages=ask("One more"))
    )
    assert error.code and error.response.headers["x-grok2api-reason"] == "client_limit", error.body
    assert int(error.response.headers["retry-after"]) <= 120
    # A day's end is further away than an SDK should sleep: it must not try again.
    began = time.monotonic()
    patient = limited.with_options(max_retries=2)
    raises(openai.RateLimitError, lambda: patient.chat.completions.create(model=MODEL, messages=ask("And now?")))
    assert error.response.headers["x-should-retry"] == "false", error.response.headers
    assert time.monotonic() - began < 5, "it slept"


@test
def error_5xx():
    error = raises(
        openai.InternalServerError,
        lambda: client.chat.completions.create(model=MODEL, messages=ask("[[sim:error=unavailable-503]]")),
    )
    assert error.status_code in (502, 503) and error.code, error.body
    assert "console.x.ai" not in str(error.body)


@test
def retries_help():
    # The gateway gives up after its attempts; the SDK's own second try finds the upstream well again.
    patient = client.with_options(max_retries=2)
    answer = patient.chat.completions.create(model=MODEL, messages=ask("[[sim:error=internal-500;times=3]] Hello"))
    assert answer.choices[0].message.content


@test
def error_in_the_stream():
    stream = client.chat.completions.create(
        model=MODEL, messages=ask("[[sim:event_error=chat-midstream-flat;event_at=3]] Hello"), stream=True
    )
    seen = 0
    try:
        for _ in stream:
            seen += 1
    except openai.APIError as error:
        assert error.message and error.body and error.body.get("code"), (error.message, error.body)
    else:
        raise AssertionError(f"the stream ended silently after {seen} chunks")
    assert seen >= 1


@test
def timeouts():
    quick = client.with_options(timeout=0.5)
    began = time.monotonic()
    raises(
        openai.APITimeoutError,
        lambda: quick.chat.completions.create(model=MODEL, messages=ask("[[sim:delay=5000]] Hello")),
    )
    assert time.monotonic() - began < 3
    chat()


@test
def disconnects():
    before = simulator("/stats")["cancelled"]
    stream = client.chat.completions.create(model=MODEL, messages=ask("[[sim:pace=400]] Hello"), stream=True)
    next(iter(stream))
    stream.close()
    end = time.monotonic() + 5
    while simulator("/stats")["cancelled"] == before:
        assert time.monotonic() < end, "the upstream call goes on after the client has gone"
        time.sleep(0.05)
    chat()


for one in TESTS:
    began = time.monotonic()
    one()
    print(f"ok {one.__name__} ({time.monotonic() - began:.2f} s)", flush=True)
print(f"openai-python {openai.__version__}: {len(TESTS)} passed")
