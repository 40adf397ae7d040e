"""openai-python's Responses against the gateway in front of the simulator.

Environment: GATEWAY (…/v1), API_KEY, OTHER_KEY (another client's), LIMITED_KEY (one call a day).
"""

import json
import os
import time
from typing import List

import openai
from openai import OpenAI
from pydantic import BaseModel

MODEL = "grok-4.6"
client = OpenAI(base_url=os.environ["GATEWAY"], api_key=os.environ["API_KEY"], max_retries=0, timeout=30)
TESTS = []
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
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


@test
def create():
    answer = client.responses.create(model=MODEL, input="What is a gateway?", instructions="Be brief.")
    assert answer.object == "response" and answer.status == "completed", answer
    assert "What is a gateway?" in answer.output_text
    assert [item.type for item in answer.output] == ["reasoning", "message"], answer.output
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert 0 < usage.output_tokens_details.reasoning_tokens < usage.output_tokens
    assert answer._request_id


@test
def an_alias_is_resolved_and_the_answer_says_so():
    answer = client.responses.create(model="grok-latest", input="Hello")
    assert answer.model == "grok-4.7", answer.model


@test
def raw_events():
    events = list(client.responses.create(model=MODEL, input="Count to ten", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"], kinds[:3]
    assert kinds[-1] == "response.completed"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text
    assert kinds.count("response.output_text.delta") >= 20
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1


@test
def stream_helper():
    with client.responses.stream(model=MODEL, input="Count to ten") as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert final.status == "completed" and "Count to ten" in final.output_text
    assert final.usage.output_tokens > 0


class Event(BaseModel):
    name: str
    day: str
    participants: List[str]


@test
def structured():
    ask = "Alice and Bob are going to a science fair on Friday."
    answer = client.responses.parse(model=MODEL, input=ask, text_format=Event)
    assert isinstance(answer.output_parsed, Event), answer.output
    with client.responses.stream(model=MODEL, input=ask, text_format=Event) as stream:
        final = stream.get_final_response()
    assert isinstance(final.output_parsed, Event), final.output


@test
def function_calling():
    said = [{"role": "user", "content": "What is the weather in Paris?"}]
    first = client.responses.create(model=MODEL, input=said, tools=[WEATHER], store=False)
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather" and json.loads(call.arguments) == {"city": "Paris"}, call
    said += [item.model_dump(exclude_none=True) for item in first.output]
    said.append({"type": "function_call_output", "call_id": call.call_id, "output": "22 degrees and sunny"})
    second = client.responses.create(model=MODEL, input=said, tools=[WEATHER], store=False)
    assert "22 degrees and sunny" in second.output_text, second.output_text


@test
def function_calling_with_the_stream_helper_and_a_stored_response():
    with client.responses.stream(model=MODEL, input="What is the weather in Paris?", tools=[WEATHER]) as stream:
        first = stream.get_final_response()
    (call,) = [item for item in first.output if item.type == "function_call"]
    second = client.responses.create(
        model=MODEL,
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "Rain"}],
        tools=[WEATHER],
    )
    assert "According to get_weather: Rain" in second.output_text, second.output_text


@test
def continued_twice():
    # Three teams stand behind the gateway, and a response is known to the one that made it.
    for _ in range(6):
        first = client.responses.create(model=MODEL, input="My number is seven")
        second = client.responses.create(model=MODEL, previous_response_id=first.id, input="And eight?")
        third = client.responses.create(model=MODEL, previous_response_id=second.id, input="And nine?")
        assert third.previous_response_id == second.id
        assert third.usage.input_tokens > second.usage.input_tokens > first.usage.input_tokens


@test
def sealed_thinking_goes_back_to_who_sealed_it():
    for at in range(6):
        said = [{"role": "user", "content": f"Think about the number {at}"}]
        first = client.responses.create(
            model=MODEL, input=said, store=False, include=["reasoning.encrypted_content"], user=f"sealed {at}"
        )
        thinking = first.output[0]
        assert thinking.type == "reasoning" and thinking.encrypted_content
        said += [item.model_dump(exclude_none=True) for item in first.output]
        said.append({"role": "user", "content": "Go on"})
        client.responses.create(model=MODEL, input=said, store=False, user=f"another user {at}")


@test
def kept_and_forgotten():
    made = client.responses.create(model=MODEL, input="Keep this")
    got = client.responses.retrieve(made.id)
    assert got.id == made.id and got.output_text == made.output_text
    items = client.responses.input_items.list(made.id)
    assert [item.content[0].text for item in items] == ["Keep this"]
    other = client.with_options(api_key=os.environ["OTHER_KEY"])
    for call in (
        lambda: other.responses.retrieve(made.id),
        lambda: other.responses.input_items.list(made.id),
        lambda: other.responses.delete(made.id),
        lambda: other.responses.create(model=MODEL, previous_response_id=made.id, input="What was that?"),
    ):
        error = raises(openai.NotFoundError, call)
        assert error.code.endswith("response_not_found") and error.type == "invalid_request_error", error.body
    client.responses.delete(made.id)
    raises(openai.NotFoundError, lambda: client.responses.retrieve(made.id))
    raises(openai.NotFoundError, lambda: client.responses.retrieve("resp_nobody_made_this"))


@test
def not_stored():
    made = client.responses.create(model=MODEL, input="Do not keep this", store=False)
    raises(openai.NotFoundError, lambda: client.responses.retrieve(made.id))


@test
def compacted():
    said = [{"role": "user", "content": "A long story about a lighthouse"}]
    compact = client.responses.compact(model=MODEL, input=said)
    assert compact.object == "response.compaction" and compact.output[-1].type == "compaction", compact
    again = [item.model_dump(exclude_none=True) for item in compact.output]
    answer = client.responses.create(model=MODEL, input=again + [{"role": "user", "content": "Go on"}])
    assert answer.status == "completed"


@test
def cut_at_the_limit():
    answer = client.responses.create(model=MODEL, input="Tell me a story", max_output_tokens=5)
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    events = list(client.responses.create(model=MODEL, input="Tell me a story", max_output_tokens=5, stream=True))
    assert events[-1].type == "response.incomplete"


@test
def errors():
    wrong = client.with_options(api_key="sk-nobody-has-this-key")
    error = raises(openai.AuthenticationError, lambda: wrong.responses.create(model=MODEL, input="Hello"))
    assert error.code == "invalid_api_key" and error.request_id, error.body
    error = raises(openai.NotFoundError, lambda: client.responses.create(model="no-such-model", input="Hello"))
    assert error.code == "model_not_found", error.body
    error = raises(
        openai.UnprocessableEntityError,
        lambda: client.responses.create(model=MODEL, input=[{"type": "nonsense"}]),
    )
    assert error.type == "invalid_request_error" and "input[0]" in error.message, error.body
    error = raises(openai.BadRequestError, lambda: client.responses.create(model=MODEL, input=""))
    assert error.param == "input", error.body
    error = raises(
        openai.BadRequestError, lambda: client.responses.create(model=MODEL, input="Hello", max_output_tokens=0)
    )
    assert error.param == "max_output_tokens", error.body
    error = raises(
        openai.InternalServerError,
        lambda: client.responses.create(model=MODEL, input="[[sim:error=unavailable-503]]"),
    )
    assert error.code and "console.x.ai" not in str(error.body), error.body
    limited = client.with_options(api_key=os.environ["LIMITED_KEY"])
    limited.responses.create(model=MODEL, input="The only one today")
    error = raises(openai.RateLimitError, lambda: limited.responses.create(model=MODEL, input="One more"))
    assert int(error.response.headers["retry-after"]) <= 120


@test
def capacity_as_the_first_event_goes_to_another_team():
    events = list(
        client.responses.create(
            model=MODEL, input="[[sim:event_error=responses-error-event;times=1]] Hello again", stream=True
        )
    )
    assert events[0].type == "response.created" and events[-1].type == "response.completed", events


@test
def failure_in_the_stream():
    stream = client.responses.create(
        model=MODEL, input="[[sim:event_error=responses-error-numeric;event_at=6]] Hello", stream=True
    )
    events = list(stream)
    assert events[-1].type == "error", events[-1]
    assert events[-1].message and events[-1].sequence_number == len(events) - 1, events[-1]
    events = list(client.responses.create(model=MODEL, input="[[sim:cut=8]] Hello", stream=True))
    assert events[-1].type == "error" and len(events) > 3, events[-1]


for one in TESTS:
    began = time.monotonic()
    one()
    print(f"ok {one.__name__} ({time.monotonic() - began:.2f} s)", flush=True)
print(f"openai-python {openai.__version__}, Responses: {len(TESTS)} passed")
