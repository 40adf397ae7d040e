"""100,000 tokens: how long a start takes, what the process weighs, how fast the first admin page is.

    benches/scale/run.sh [--tokens N] [--per-team N] [--never-asked] [--panel [--watch SECONDS]]
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("--target", required=True)
parser.add_argument("--tokens", type=int, default=100_000)
parser.add_argument("--per-team", type=int, default=5)
parser.add_argument("--never-asked", action="store_true", help="the upstream is away: no credential's team is known")
parser.add_argument("--panel", action="store_true", help="the panel's token page in a headless browser, and nothing else")
parser.add_argument("--watch", type=int, default=0, help="with --panel: look at the page for so long, and at its memory")
args = parser.parse_args()
PROGRAM = os.path.abspath(os.path.join(args.target, "grok2api"))
HERE = tempfile.mkdtemp(prefix="grok2api-scale-")
PASSWORD = "a password for benches"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(name, command, env, url):
    """The process, and the seconds until `url` was 200."""
    out = open(os.path.join(HERE, name + ".log"), "ab")
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**clean, **env}, cwd=HERE)
    while time.monotonic() - began < 120:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return process, time.monotonic() - began
        except OSError:
            time.sleep(0.005)
    raise SystemExit(f"{name} is not ready; see {out.name}")


def call(url, body=None, bearer=None, kind="application/json"):
    headers = {"content-type": kind}
    if bearer:
        headers["authorization"] = "Bearer " + bearer
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers), timeout=300) as answer:
        return json.load(answer)


def resident_mb(process, what="VmRSS"):
    for line in open(f"/proc/{process.pid}/status"):
        if line.startswith(what + ":"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no " + what)


sim_port, port = free_port(), free_port()
with open(os.path.join(HERE, "scenario.json"), "w") as file:
    json.dump({"generate": {"teams": args.tokens // args.per_team, "keys_per_team": args.per_team}}, file)
sim_url = f"http://127.0.0.1:{sim_port}"
simulator, _ = start(
    "simulator",
    [PROGRAM, "simulate", "--port", str(sim_port), "--scenario", "scenario.json"],
    {},
    sim_url + "/__sim/stats",
)
secrets = [key["secret"] for key in call(sim_url + "/__sim/keys")["keys"]]
base = f"http://127.0.0.1:{port}"
admin = base + "/api/v1/admin"


def gateway():
    upstream = "http://127.0.0.1:9" if args.never_asked else sim_url
    env = {"GROK2API__XAI__BASE_URL": upstream + "/v1", "GROK2API__APP__APP_KEY": PASSWORD, "LOG_LEVEL": "warn"}
    command = [PROGRAM, "--data-dir", os.path.join(HERE, "data"), "--host", "127.0.0.1", "--port", str(port)]
    process, seconds = start("gateway", command, env, base + "/readyz")
    token = call(admin + "/login", {"username": "admin", "password": PASSWORD})["token"]
    return process, seconds, token


def stop(process):
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0
    return time.monotonic() - began


def row(what, value):
    print(f"| {what} | {value} |", flush=True)


known = "never asked about" if args.never_asked else f"in {args.tokens // args.per_team:,} teams"
print(f"\n| {args.tokens:,} tokens {known} | |\n|---|---|")
process, seconds, token = gateway()
row("start, empty", f"{seconds:.2f} s, {resident_mb(process):.0f} MB")
began = time.monotonic()
report = call(admin + "/tokens/import?pool=apiKey", "\n".join(secrets).encode(), token, "text/plain")
row("import, durable", f"{time.monotonic() - began:.1f} s")
assert report["added"] == len(secrets), report
began = time.monotonic()
last, steady = -1, 0
while not args.never_asked and steady < 4 and time.monotonic() - began < 600:
    time.sleep(0.5)
    teams = call(admin + "/tokens/counts", bearer=token)["teams"]
    last, steady = teams, steady + 1 if teams == last and teams else 0
if args.panel:
    # Some are off: a filter has something to find.
    ids = [item["id"] for item in call(admin + "/tokens?limit=500", bearer=token)["items"]]
    for at in ids[:: len(ids) // 200]:
        body = json.dumps({"switch": "off"}).encode()
        headers = {"content-type": "application/json", "authorization": "Bearer " + token}
        urllib.request.urlopen(urllib.request.Request(f"{admin}/tokens/{at}", body, headers, method="PATCH"))
    browser = os.environ.get("GROK2API_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "panel.mjs")
    env = {**os.environ, "GATEWAY": base, "PASSWORD": PASSWORD, "CHROMIUM": browser, "WATCH_S": str(args.watch)}
    subprocess.run(["node", script], env=env, check=True)
    stop(process)
    simulator.send_signal(signal.SIGTERM)
    simulator.wait(timeout=60)
    raise SystemExit(0)
if args.never_asked:
    time.sleep(2)
else:
    row("every credential checked with free calls", f"{time.monotonic() - began - 2:.0f} s ({last:,} teams known)")
row("resident after that", f"{resident_mb(process):.0f} MB")
row("stop, graceful", f"{stop(process):.1f} s")

starts = []
for at in range(3):
    process, seconds, token = gateway()
    starts.append(seconds)
    if at < 2:
        stop(process)
row("start", ", ".join(f"{seconds:.2f} s" for seconds in starts))
row("resident after it", f"{resident_mb(process):.0f} MB, at most {resident_mb(process, 'VmHWM'):.0f} MB")
for what, query in (
    ("first admin page", "?limit=50"),
    ("a page by last use", "?limit=50&sort=-last_used"),
    ("a page that searches", "?limit=50&text=zz"),
    ("a page of those that rest", "?limit=50&state=cooling"),
):
    times = []
    for _ in range(20):
        began = time.monotonic()
        call(admin + "/tokens" + query, bearer=token)
        times.append((time.monotonic() - began) * 1000)
    row(f"{what} ({query})", f"first {times[0]:.1f} ms, then median {statistics.median(times):.1f}, worst {max(times[1:]):.1f} ms")
key = call(admin + "/keys", {"name": "bench"}, token)["data"]["key"]
times = []
for at in range(0 if args.never_asked else 50):
    began = time.monotonic()
    call(
        base + "/v1/chat/completions",
        {"model": "grok-4.6", "messages": [{"role": "user", "content": f"call {at} [[sim:first_token=0;pace=0]]"}]},
        key,
    )
    times.append((time.monotonic() - began) * 1000)
if times:
    row("a chat call on a team that is cold here", f"median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")
row("resident at the end", f"{resident_mb(process):.0f} MB")
stop(process)
simulator.send_signal(signal.SIGTERM)
simulator.wait(timeout=60)
