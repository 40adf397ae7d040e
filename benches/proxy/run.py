"""Runs the comparison; see run.sh. Everything is on this machine, so only ratios within one run mean something."""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("--target", required=True)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--seconds", type=int, default=8)
parser.add_argument("--streams", type=int, default=2000)
args = parser.parse_args()
PROGRAM = os.path.join(args.target, "grok2api")
LOADER = os.path.join(args.target, "examples", "loader")
HERE = tempfile.mkdtemp(prefix="grok2api-bench-")
TICKS = os.sysconf("SC_CLK_TCK")
running = []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(name, command, env=None, wait=None):
    out = open(os.path.join(HERE, name + ".log"), "wb")
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**clean, **(env or {})}, cwd=HERE)
    running.append(process)
    end = time.time() + 60
    while wait and time.time() < end:
        try:
            urllib.request.urlopen(wait, timeout=1)
            return process
        except urllib.error.HTTPError as error:
            if error.code != 503:
                return process
        except OSError:
            pass
        time.sleep(0.05)
    assert not wait, open(os.path.join(HERE, name + ".log")).read()
    return process


def call(url, body=None, bearer=None):
    headers = {"content-type": "application/json"}
    if bearer:
        headers["authorization"] = "Bearer " + bearer
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers), timeout=30) as answer:
        return json.load(answer)


def family(pid):
    children = open(f"/proc/{pid}/task/{pid}/children").read().split()
    return [pid] + [int(child) for child in children]


def cpu(pid):
    """Seconds of CPU of a process and its children."""
    total = 0
    for one in family(pid):
        fields = open(f"/proc/{one}/stat").read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory(pid):
    """Proportional resident KB of a process and its children."""
    total = 0
    for one in family(pid):
        for line in open(f"/proc/{one}/smaps_rollup"):
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


# -- the stage -------------------------------------------------------------------------------------------------------

sim_port, nginx_port = free_port(), free_port()
with open(os.path.join(HERE, "scenario.json"), "w") as file:
    json.dump({"pace_ms": 0, "first_token_ms": 0, "answer_chunks": 50, "generate": {"teams": 20, "keys_per_team": 5}}, file)
simulator = start(
    "simulator",
    [PROGRAM, "simulate", "--port", str(sim_port), "--scenario", "scenario.json"],
    wait=f"http://127.0.0.1:{sim_port}/__sim/stats",
)
keys = [key["secret"] for key in call(f"http://127.0.0.1:{sim_port}/__sim/keys")["keys"]]

with open(os.path.join(HERE, "nginx.conf"), "w") as file:
    file.write(
        f"""
worker_processes 2;
daemon off;
pid {HERE}/nginx.pid;
error_log {HERE}/nginx-error.log;
worker_rlimit_nofile 40000;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  client_body_temp_path {HERE}; proxy_temp_path {HERE}; fastcgi_temp_path {HERE}; uwsgi_temp_path {HERE}; scgi_temp_path {HERE};
  upstream sim {{ server 127.0.0.1:{sim_port}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{nginx_port} backlog=4096;
    keepalive_requests 1000000;
    client_max_body_size 32m;
    client_body_buffer_size 64k;
    tcp_nodelay on;
    location / {{
      proxy_pass http://sim;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 300s;
    }}
  }}
}}
"""
    )
nginx = start(
    "nginx",
    ["nginx", "-p", HERE, "-c", os.path.join(HERE, "nginx.conf")],
    wait=f"http://127.0.0.1:{nginx_port}/__sim/stats",
)

gateway_env = {
    "GROK2API__XAI__BASE_URL": f"http://127.0.0.1:{sim_port}/v1",
    "XAI_API_KEY": ",".join(keys),
    "GROK2API__APP__APP_KEY": "a password for benches",
    "LOG_LEVEL": "warn",
}
gateway_port = free_port()
gateway = start(
    "gateway",
    [PROGRAM, "--data-dir", os.path.join(HERE, "data"), "--host", "127.0.0.1", "--port", str(gateway_port)],
    gateway_env,
    wait=f"http://127.0.0.1:{gateway_port}/readyz",
)
base = f"http://127.0.0.1:{gateway_port}"
admin = base + "/api/v1/admin"
token = call(admin + "/login", {"username": "admin", "password": "a password for benches"})["token"]
# Every meter of a client key is on; none of them may be what is measured.
key = call(
    admin + "/keys",
    {
        "name": "bench",
        "rpm": 1_000_000_000,
        "tpm": 1_000_000_000_000,
        "concurrency": 100_000,
        "limits": {"chat_per_day": 1_000_000_000},
    },
    token,
)["data"]["key"]
end = time.time() + 30
while call(admin + "/tokens/counts", bearer=token)["teams"] < 20:
    assert time.time() < end
    time.sleep(0.1)
idle_kb = memory(gateway.pid)

TARGETS = {
    "direct": (f"http://127.0.0.1:{sim_port}", keys[0], simulator.pid),
    "nginx": (f"http://127.0.0.1:{nginx_port}", keys[0], nginx.pid),
    "gateway": (base, key, gateway.pid),
}


def body(stream, size, orders=""):
    return json.dumps(
        {
            "model": "grok-4.6",
            "messages": [{"role": "user", "content": "word " * (size // 5) + orders}],
            **({"stream": True} if stream else {}),
        }
    )


# -- measuring -------------------------------------------------------------------------------------------------------

PATH = "/v1/chat/completions"


def wrk(url, bearer, text, seconds):
    script = os.path.join(HERE, "post.lua")
    with open(script, "w") as file:
        file.write(
            f"wrk.method = 'POST'\nwrk.body = [==[{text}]==]\n"
            f"wrk.headers['authorization'] = 'Bearer {bearer}'\nwrk.headers['content-type'] = 'application/json'\n"
            "done = function(summary)\n"
            "  local e = summary.errors\n"
            "  io.write(string.format('%d %d %d\\n', summary.requests, summary.duration,"
            " e.connect + e.read + e.write + e.status + e.timeout))\n"
            "end\n"
        )
    said = subprocess.run(
        ["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "10s", "-s", script, url + PATH],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    requests, microseconds, errors = map(int, said.strip().splitlines()[-1].split())
    return requests, microseconds / 1e6, errors


def load(url, bearer, text, mode, amount, seconds):
    said = subprocess.run(
        [LOADER, url + PATH, bearer, mode, str(amount), str(seconds)],
        input=text.encode(),
        check=True,
        capture_output=True,
    ).stdout
    return json.loads(said.decode().strip().splitlines()[-1])


results = {name: {} for name in TARGETS}


def note(name, what, value):
    results[name].setdefault(what, []).append(value)


def one_round(seconds):
    for size, label in ((450, "json"), (20_000, "json 20 KB")):
        for name, (url, bearer, pid) in TARGETS.items():
            before = cpu(pid)
            requests, took, errors = wrk(url, bearer, body(False, size), seconds)
            assert errors == 0, f"{name}: {errors} of {requests} {label} failed"
            note(name, label + " req/s", requests / took)
            note(name, label + " cpu us", (cpu(pid) - before) / requests * 1e6)
    for name, (url, bearer, pid) in TARGETS.items():
        before = cpu(pid)
        told = load(url, bearer, body(True, 450), "streams", 64, seconds)
        assert told["bad"] == 0, f"{name}: {told}"
        note(name, "sse streams/s", told["good"] / told["seconds"])
        note(name, "sse cpu us", (cpu(pid) - before) / told["good"] * 1e6)
    for name, (url, bearer, pid) in TARGETS.items():
        told = load(url, bearer, body(True, 450, "[[sim:pace=10]]"), "streams", 50, seconds)
        assert told["bad"] == 0, f"{name}: {told}"
        note(name, "gap p50 us", told["gap_p50_us"])
        note(name, "gap p99 us", told["gap_p99_us"])
    for name, (url, bearer, pid) in TARGETS.items():
        told = load(url, bearer, body(False, 450), "open", 1000, seconds)
        assert told["bad"] == 0, f"{name}: {told}"
        note(name, "open p50 us", told["p50_us"])
        note(name, "open p99 us", told["p99_us"])


one_round(2)
for name in results:
    results[name] = {}
for round_ in range(args.rounds):
    one_round(args.seconds)
    print(f"round {round_ + 1} of {args.rounds}", flush=True)
busy_kb = memory(gateway.pid)

# Many slow streams at a time.
held = {}
call(
    f"http://127.0.0.1:{sim_port}/__sim/script",
    {"when": {"path": PATH, "stream": True}, "do": {"pace_ms": 600}},
)
for name in ("nginx", "gateway"):
    url, bearer, pid = TARGETS[name]
    before = memory(pid)
    process = subprocess.Popen(
        [LOADER, url + PATH, bearer, "hold", str(args.streams), "90"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(body(True, 450).encode())
    process.stdin.close()
    begun = int(process.stdout.readline().split()[1])
    time.sleep(2)
    held[name] = (begun, (memory(pid) - before) / max(begun, 1))
    told = json.loads(process.stdout.readline())
    process.wait()
    held[name] += (told["good"], told["bad"])

for process in running:
    process.send_signal(signal.SIGTERM)
for process in running:
    process.wait(timeout=60)

# -- the table -------------------------------------------------------------------------------------------------------


def median(name, what):
    return statistics.median(results[name][what])


def row(label, what, form="{:,.0f}"):
    cells = [form.format(median(name, what)) for name in TARGETS]
    ratio = statistics.median(
        ours / theirs for ours, theirs in zip(results["gateway"][what], results["nginx"][what])
    )
    print(f"| {label} | {' | '.join(cells)} | {ratio:.2f} |")


load_average = open("/proc/loadavg").read().split()[0]
cores = os.cpu_count()
print(f"\n{args.rounds} rounds of {args.seconds} s, {cores} cores, load average at the end {load_average}\n")
print("| what | direct | nginx | gateway | gateway ÷ nginx |")
print("|---|---|---|---|---|")
row("chat, 450 B, c=64: requests/s", "json req/s")
row("… CPU µs a request", "json cpu us", "{:.1f}")
row("chat, 20 KB, c=64: requests/s", "json 20 KB req/s")
row("… CPU µs a request", "json 20 KB cpu us", "{:.1f}")
row("SSE, 50 chunks, c=64: streams/s", "sse streams/s")
row("… CPU µs a stream", "sse cpu us", "{:.0f}")
row("SSE, a chunk each 10 ms, c=50: gap between chunks, p50 µs", "gap p50 us")
row("… p99 µs", "gap p99 us")
row("1,000 req/s open loop: p50 µs", "open p50 us")
row("… p99 µs", "open p99 us")
for quantile in ("p50", "p99"):
    added = {
        name: statistics.median(
            through - bare
            for through, bare in zip(results[name][f"open {quantile} us"], results["direct"][f"open {quantile} us"])
        )
        for name in ("nginx", "gateway")
    }
    print(f"| … {quantile} added over direct, µs | – | {added['nginx']:,.0f} | {added['gateway']:,.0f} | |")
for name, (begun, each, good, bad) in held.items():
    print(f"| {begun:,} slow streams through {name} | {each:.1f} KB each; {good:,} complete, {bad} broken | | | |")
print(f"| gateway's memory: idle, after the load | {idle_kb / 1024:.1f} MB, {busy_kb / 1024:.1f} MB | | | |")
