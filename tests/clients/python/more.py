"""openai-python's files, audio, embeddings, legacy completions and realtime against the gateway in front of the simulator.

Environment: GATEWAY (…/v1), API_KEY, OTHER_KEY (another client's).
"""

import json
import os
import time

import openai
from openai import OpenAI

MODEL = "grok-4.6"
base = os.environ["GATEWAY"]
client = OpenAI(base_url=base, api_key=os.environ["API_KEY"], max_retries=0, timeout=30)
other = OpenAI(base_url=base, api_key=os.environ["OTHER_KEY"], max_retries=0, timeout=30)
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"nothing was raised instead of {kind}")


@test
def files():
    made = [
        client.files.create(
            file=(f"notes-{at}.txt", f"note {at}".encode()),
            purpose="assistants",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        for at in range(5)
    ]
    assert client.files.retrieve(made[0].id).filename == "notes-0.txt"
    assert client.files.content(made[3].id).read() == b"note 3"
    # The pager turns the page because `has_more` is there.
    listed = {file.id for file in client.files.list(limit=2)}
    assert {file.id for file in made} <= listed, listed
    assert [file.id for file in other.files.list()] == []
    raises(openai.NotFoundError, lambda: other.files.retrieve(made[0].id))
    assert client.files.delete(made[0].id).deleted
    raises(openai.NotFoundError, lambda: client.files.retrieve(made[0].id))


@test
def a_batch_of_a_file_of_calls():
    def body(text):
        return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}

    calls = [
        {"custom_id": f"call-{at}", "method": "POST", "url": "/v1/chat/completions", "body": body(f"Say {at}")} for at in range(3)
    ]
    calls.append({"custom_id": "broken", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o"}})
    content = "\n".join(json.dumps(call) for call in calls).encode()
    file = client.files.create(file=("calls.jsonl", content), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"run": "1"}
    )
    assert made.object == "batch" and made.metadata == {"run": "1"}, made
    until = time.monotonic() + 60
    while (batch := client.batches.retrieve(made.id)).status != "completed":
        assert time.monotonic() < until, batch
        time.sleep(0.2)
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (4, 3, 1), batch
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == ["call-0", "call-1", "call-2"], answers
    assert all(answer["response"]["body"]["choices"][0]["message"]["content"] for answer in answers), answers
    (failure,) = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
    assert failure["custom_id"] == "broken" and failure["error"]["message"], failure
    assert client.files.retrieve(batch.output_file_id).purpose == "batch_output"
    assert made.id in [one.id for one in client.batches.list(limit=1)]
    assert [one.id for one in other.batches.list()] == []
    assert client.batches.cancel(made.id).status == "cancelled"
    raises(openai.NotFoundError, lambda: other.batches.retrieve(made.id))
    raises(openai.NotFoundError, lambda: other.files.content(batch.output_file_id))
    wrong = raises(
        openai.BadRequestError,
        lambda: client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h"),
    )
    assert "Line 1" in str(wrong), wrong


@test
def a_file_is_read_by_a_response():
    file = client.files.create(file=("a.txt", b"hello"), purpose="assistants")
    item = {"role": "user", "content": [{"type": "input_text", "text": "Read it"}, {"type": "input_file", "file_id": file.id}]}
    assert client.responses.create(model=MODEL, input=[item]).status == "completed"
    raises(openai.NotFoundError, lambda: other.responses.create(model=MODEL, input=[item]))


@test
def speech():
    sound = client.audio.speech.create(model="tts-1", voice="alloy", input="Hello there", response_format="wav")
    assert sound.read()[:3] == b"ID3"
    with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="Hi") as streamed:
        assert b"".join(streamed.iter_bytes())[:3] == b"ID3"
    raises(
        openai.BadRequestError,
        lambda: client.audio.speech.create(model="tts-1", voice="alloy", input="Hi", response_format="opus"),
    )


@test
def transcriptions():
    told = client.audio.transcriptions.create(model="whisper-1", file=("talk.wav", b"\x07" * 32_000))
    assert told.text == "talk.wav of 32000 bytes", told
    told = client.audio.transcriptions.create(
        model="whisper-1", file=("talk.wav", b"\x07" * 32_000), response_format="verbose_json", language="en"
    )
    assert told.duration == 2.0 and told.words[0].word == "talk.wav", told


@test
def embeddings():
    # The SDK asks for base64 and decodes it.
    got = client.embeddings.create(model="v1", input=["one", "two words"])
    assert len(got.data) == 2 and isinstance(got.data[0].embedding[0], float), got
    raises(openai.BadRequestError, lambda: client.embeddings.create(model=MODEL, input="one"))


@test
def completions():
    got = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=20)
    assert got.choices[0].text, got
    chunks = list(client.completions.create(model=MODEL, prompt="Once", max_tokens=20, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices), chunks


@test
def realtime():
    with client.realtime.connect(model="grok-voice-latest") as connection:
        assert connection.recv().type == "session.created"
        assert connection.recv().type == "conversation.created"
        connection.send({"type": "response.create"})
        kinds = []
        while True:
            event = connection.recv()
            kinds.append(event.type)
            if event.type == "response.done":
                break
        assert "response.output_audio_transcript.delta" in kinds, kinds
    wrong = OpenAI(base_url=base, api_key="wrong", max_retries=0)

    def connect():
        with wrong.realtime.connect(model="grok-voice-latest"):
            pass

    raises(Exception, connect)


for run in TESTS:
    run()
    print("ok", run.__name__)
print(openai.__version__, len(TESTS), "passed")
