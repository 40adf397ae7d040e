"""Streams of each front, passed on and converted: first byte beside the upstream's own, and CPU of the gateway a chunk.

    python3 benches/proxy/fronts.py --program target/release/grok2api [--streams 400]

One stream at a time, 50 chunks, no pause between them; the fronts take turns, so that what the machine does beside it
falls on all of them alike.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("--program", required=True)
parser.add_argument("--streams", type=int, default=400)
args = parser.parse_args()
PROGRAM = os.path.abspath(args.program)
HERE = tempfile.mkdtemp(prefix="grok2api-fronts-")
TICKS = os.sysconf("SC_CLK_TCK")
CHUNKS, AT_ONCE = 50, 20
SAID = [{"role": "user", "content": "Hi"}]
CHAT = "/v1/chat/completions", {"messages": SAID, "stream": True}
MESSAGES = "/v1/messages", {"messages": SAID, "max_tokens": 500, "stream": True}
RESPONSES = "/v1/responses", {"input": SAID, "stream": True}
ONLY_RESPONSES = "grok-4.20-multi-agent"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(name, command, env, wait):
    out = open(os.path.join(HERE, name + ".log"), "wb")
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**clean, **env}, cwd=HERE)
    for _ in range(600):
        try:
            urllib.request.urlopen(wait, timeout=1)
            return process
        except urllib.error.HTTPError as error:
            if error.code != 503:
                return process
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(open(os.path.join(HERE, name + ".log")).read())


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def stream(connection, path, body, bearer):
    """Milliseconds to the first byte of the body."""
    headers = {"content-type": "application/json", "authorization": "Bearer " + bearer}
    begun = time.perf_counter()
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    first = answer.read(1)
    took = (time.perf_counter() - begun) * 1000
    rest = first + answer.read()
    assert answer.status == 200 and rest.count(b"\n\n") >= CHUNKS, (answer.status, rest[:500])
    return took


sim_port, port = free_port(), free_port()
with open(os.path.join(HERE, "scenario.json"), "w") as file:
    json.dump({"pace_ms": 0, "first_token_ms": 0, "answer_chunks": CHUNKS, "generate": {"teams": 20, "keys_per_team": 5}}, file)
simulator = start(
    "simulator",
    [PROGRAM, "simulate", "--port", str(sim_port), "--scenario", "scenario.json"],
    {},
    f"http://127.0.0.1:{sim_port}/__sim/stats",
)
keys = [key["secret"] for key in json.load(urllib.request.urlopen(f"http://127.0.0.1:{sim_port}/__sim/keys"))["keys"]]
secret = "sk-bench-0123456789abcdef0123456789"
gateway = start(
    "gateway",
    [PROGRAM, "--port", str(port), "--data-dir", "data"],
    {
        "XAI_API_KEY": ",".join(keys),
        "GROK2API__XAI__BASE_URL": f"http://127.0.0.1:{sim_port}/v1",
        "GROK2API__APP__API_KEY": secret,
        "LOG_LEVEL": "warn",
    },
    f"http://127.0.0.1:{port}/readyz",
)
try:
    upstream = http.client.HTTPConnection("127.0.0.1", sim_port, timeout=30)
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    fronts = {
        "chat, passed": (CHAT, CHAT, "grok-4.7"),
        "chat, converted": (CHAT, RESPONSES, ONLY_RESPONSES),
        "messages, passed": (MESSAGES, MESSAGES, "grok-4.7"),
        "messages, converted": (MESSAGES, RESPONSES, ONLY_RESPONSES),
    }
    found = {name: ([], [], []) for name in fronts}
    for turn in range(args.streams // AT_ONCE + 1):
        for name, (front, below, model) in fronts.items():
            before, direct, through = cpu(gateway.pid), [], []
            for _ in range(AT_ONCE):
                through.append(stream(client, front[0], {**front[1], "model": model}, secret))
            spent = cpu(gateway.pid) - before
            for _ in range(AT_ONCE):
                direct.append(stream(upstream, below[0], {**below[1], "model": model}, keys[0]))
            # The first turn warms up.
            if turn:
                found[name][0].extend(through)
                found[name][1].extend(direct)
                found[name][2].append(spent)
    print("| front | first byte, p50 | upstream's own | added | CPU µs a chunk |\n|---|---|---|---|---|")
    for name, (through, direct, spent) in found.items():
        p50, own = statistics.median(through), statistics.median(direct)
        chunk = sum(spent) / len(through) / CHUNKS * 1e6
        print(f"| {name} | {p50:.3f} ms | {own:.3f} ms | {p50 - own:.3f} ms | {chunk:.2f} |")
finally:
    gateway.terminate()
    simulator.terminate()
