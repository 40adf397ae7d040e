"""langchain-openai and LiteLLM, as clients of the gateway in front of the simulator.

Environment: GATEWAY (…/v1), ANTHROPIC (the address without /v1), API_KEY.
"""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

MODEL = "grok-4.6"
GATEWAY, KEY = os.environ["GATEWAY"], os.environ["API_KEY"]
litellm.telemetry = False
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class City(BaseModel):
    city: str
    population: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


CALL = '[[sim:call=get_weather{"city":"Oslo"}]] What is the weather?'


def chat(**more):
    return ChatOpenAI(model=MODEL, base_url=GATEWAY, api_key=KEY, max_retries=0, timeout=30, **more)


@test
def langchain_chat():
    answer = chat().invoke("What is a gateway?")
    assert "gateway" in answer.text and answer.usage_metadata["total_tokens"] > 0, answer


@test
def langchain_stream():
    chunks = list(chat(stream_usage=True).stream("Count to ten"))
    assert len(chunks) > 2 and any(chunk.usage_metadata for chunk in chunks), chunks


@test
def langchain_tools():
    model = chat().bind_tools([get_weather])
    asked = model.invoke(CALL)
    assert asked.tool_calls[0]["name"] == "get_weather" and asked.tool_calls[0]["args"] == {"city": "Oslo"}, asked
    result = get_weather.invoke(asked.tool_calls[0])
    told = model.invoke([("user", CALL), asked, result])
    assert told.text and not told.tool_calls, told


@test
def langchain_objects():
    city = chat().with_structured_output(City).invoke("A city")
    assert isinstance(city, City), city


@test
def langchain_responses():
    answer = chat(use_responses_api=True).invoke("What is a gateway?")
    assert "gateway" in answer.text, answer


@test
def langchain_embeddings():
    vectors = OpenAIEmbeddings(model="v1", base_url=GATEWAY, api_key=KEY, check_embedding_ctx_length=False)
    assert len(vectors.embed_documents(["one", "two"])) == 2


def completion(model, prompt="What is a gateway?", **more):
    messages = [{"role": "user", "content": prompt}]
    return litellm.completion(model=model, messages=messages, api_key=KEY, num_retries=0, timeout=30, **more)


@test
def litellm_openai():
    answer = completion(f"openai/{MODEL}", api_base=GATEWAY)
    assert "gateway" in answer.choices[0].message.content and answer.usage.total_tokens > 0, answer


@test
def litellm_xai_stream():
    chunks = list(completion(f"xai/{MODEL}", "Count to ten", api_base=GATEWAY, stream=True))
    assert len(chunks) > 2, chunks


@test
def litellm_anthropic():
    answer = completion("anthropic/claude-sonnet-4-5", api_base=os.environ["ANTHROPIC"])
    assert "gateway" in answer.choices[0].message.content, answer


@test
def litellm_tools():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "description": "w", "parameters": schema}}]
    answer = completion(f"openai/{MODEL}", CALL, api_base=GATEWAY, tools=tools)
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather", answer


@test
def litellm_embeddings():
    got = litellm.embedding(model="openai/v1", input=["one", "two"], api_base=GATEWAY, api_key=KEY)
    assert len(got.data) == 2, got


@test
def litellm_errors():
    try:
        completion(f"openai/{MODEL}", "[[sim:error=arg-invalid]] no", api_base=GATEWAY)
    except litellm.BadRequestError as error:
        assert error.status_code == 400
    else:
        raise AssertionError("nothing was raised")


for run in TESTS:
    run()
    print("ok", run.__name__)
print(len(TESTS), "passed")
