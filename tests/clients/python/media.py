"""openai-python's images and videos against the gateway in front of the simulator.

Environment: GATEWAY (…/v1), API_KEY, OTHER_KEY (another client's), LIMITED_KEY (one picture a day).
"""

import base64
import os
import time
import urllib.request

import openai
from openai import OpenAI

MODEL = "grok-imagine-image"
client = OpenAI(base_url=os.environ["GATEWAY"], api_key=os.environ["API_KEY"], max_retries=0, timeout=60)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TESTS = []


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


def fetched(url):
    with urllib.request.urlopen(url) as answer:
        return answer.headers["content-type"], answer.read()


@test
def a_picture_by_its_link():
    made = client.images.generate(model=MODEL, prompt="A lighthouse", n=2, size="1536x1024")
    assert abs(made.created - time.time()) < 60 and len(made.data) == 2
    for picture in made.data:
        kind, content = fetched(picture.url)
        assert kind == "image/jpeg" and content.startswith(b"\xff\xd8\xff")
    assert made.usage.total_tokens == 0 and made._request_id


@test
def a_picture_inline_by_openais_names():
    made = client.images.generate(
        model="gpt-image-1", prompt="A lighthouse", response_format="b64_json", quality="high", background="auto"
    )
    assert base64.b64decode(made.data[0].b64_json).startswith(b"\xff\xd8\xff")
    assert made.data[0].url is None


@test
def events_of_a_picture():
    events = list(client.images.generate(model=MODEL, prompt="A lighthouse", stream=True, partial_images=2))
    assert [event.type for event in events] == ["image_generation.completed"], events
    event = events[0]
    assert base64.b64decode(event.b64_json).startswith(b"\xff\xd8\xff")
    assert event.output_format == "jpeg" and event.created_at and event.usage.total_tokens == 0


@test
def a_picture_is_changed():
    one = client.images.edit(model=MODEL, prompt="Redder", image=("a.png", PNG, "image/png"), size="1024x1024")
    assert one.data[0].url
    several = client.images.edit(model=MODEL, prompt="Both", image=[PNG, PNG], n=2, response_format="b64_json")
    assert len(several.data) == 2 and several.data[1].b64_json
    events = list(client.images.edit(model=MODEL, prompt="Redder", image=PNG, stream=True))
    assert [event.type for event in events] == ["image_edit.completed"], events


@test
def pictures_that_cannot_be_had():
    error = raises(openai.BadRequestError, lambda: client.images.generate(model=MODEL, prompt="A", size="7x7"))
    assert error.param == "size" and error.code == "invalid_size", error.body
    error = raises(
        openai.BadRequestError, lambda: client.images.edit(model=MODEL, prompt="A", image=PNG, mask=PNG)
    )
    assert error.code == "unsupported_parameter"
    error = raises(
        openai.BadRequestError, lambda: client.images.generate(model=MODEL, prompt="[[sim:answer=moderated]]")
    )
    assert error.code == "content_policy_violation" and "moderation" in error.message
    error = raises(openai.BadRequestError, lambda: client.images.generate(model="grok-4.6", prompt="A"))
    assert error.code == "model_not_supported"
    error = raises(openai.NotFoundError, lambda: client.images.generate(model="grok-imagine-imago", prompt="A"))
    assert "grok-imagine-image" in error.message


@test
def one_picture_a_day():
    limited = client.with_options(api_key=os.environ["LIMITED_KEY"])
    error = raises(openai.RateLimitError, lambda: limited.images.generate(model=MODEL, prompt="A", n=2))
    assert error.code == "daily_quota_exceeded"
    limited.images.generate(model=MODEL, prompt="A")
    raises(openai.RateLimitError, lambda: limited.images.generate(model=MODEL, prompt="A"))


@test
def a_video_from_begin_to_end():
    made = client.videos.create(model="sora-2", prompt="Waves", seconds="4", size="1280x720", input_reference=PNG)
    assert made.object == "video" and made.status == "queued" and made.seconds == "4" and made.size == "1280x720"
    done = client.videos.poll(made.id)
    assert done.status == "completed" and done.progress == 100 and done.completed_at >= done.created_at
    film = client.videos.download_content(made.id).read()
    assert film[4:8] == b"ftyp"
    other = client.with_options(api_key=os.environ["OTHER_KEY"])
    raises(openai.NotFoundError, lambda: other.videos.retrieve(made.id))
    raises(openai.NotFoundError, lambda: other.videos.download_content(made.id))
    remix = client.videos.remix(made.id, prompt="At night")
    assert remix.remixed_from_video_id == made.id
    # Of this version's own helpers neither takes `{"id": …}`, which its types allow.
    edited = client.videos.edit(prompt="Redder", video=("a.mp4", film, "video/mp4"))
    longer = client.videos.extend(prompt="On and on", seconds="4", video=("a.mp4", film, "video/mp4"))
    listed = [video.id for video in client.videos.list(limit=2)]
    assert set(listed) == {made.id, remix.id, edited.id, longer.id}, listed
    assert client.videos.delete(made.id).deleted is True
    raises(openai.NotFoundError, lambda: client.videos.retrieve(made.id))
    assert client.videos.poll(remix.id).status == "completed"


@test
def create_and_poll():
    done = client.videos.create_and_poll(model="grok-imagine-video", prompt="Waves", seconds="1")
    assert done.status == "completed" and done.error is None


@test
def videos_that_cannot_be_had():
    failed = client.videos.create_and_poll(model="grok-imagine-video", prompt="[[sim:answer=failed]]")
    assert failed.status == "failed" and failed.error.message, failed
    withheld = client.videos.create_and_poll(model="grok-imagine-video", prompt="[[sim:answer=moderated]]")
    assert withheld.error.code == "content_policy_violation" and "moderation" in withheld.error.message
    error = raises(openai.BadRequestError, lambda: client.videos.create(prompt="A", seconds="20"))
    assert error.param == "seconds"
    raises(openai.NotFoundError, lambda: client.videos.retrieve("video_unknown"))
    text = ("a.png", b"this is no picture", "image/png")
    error = raises(openai.BadRequestError, lambda: client.videos.create(prompt="A", input_reference=text))
    assert error.code == "invalid_image_type", error.body


@test
def a_picture_and_a_film_in_a_chat():
    ask = [{"role": "user", "content": "A lighthouse"}]
    answer = client.chat.completions.create(model="grok-imagine-1.0", messages=ask)
    said = answer.choices[0].message.content
    assert said.startswith("![image](http"), said
    kind, _ = fetched(said[len("![image](") : said.index(")")])
    assert kind == "image/jpeg"
    chunks = list(client.chat.completions.create(model="grok-imagine-1.0", messages=ask, stream=True))
    assert "![image](" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    film = list(client.chat.completions.create(model="grok-imagine-1.0-video", messages=ask, stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in film)
    assert said.startswith("<think>") and "</think>" in said and "<video" in said, said


for run in TESTS:
    began = time.perf_counter()
    run()
    print(f"ok {run.__name__} ({time.perf_counter() - began:.2f} s)")
print(f"openai-python {openai.__version__}, images and videos: {len(TESTS)} passed")
