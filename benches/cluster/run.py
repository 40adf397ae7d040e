"""What a cluster costs: deploy/local-cluster's topology, or one node alone, under an even load; see run.sh."""

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
parser.add_argument("what", choices=["messages", "cpu"])
parser.add_argument("--target", required=True)
parser.add_argument("--seconds", type=int, default=60)
parser.add_argument("--warm", type=int, default=30, help="seconds of load before the counting begins")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--rates", default="0,1000,200,20")
parser.add_argument("--tight", action="store_true", help="limits are half the demand instead of twice")
args = parser.parse_args()
TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TARGET = os.path.abspath(args.target)
PROGRAM = os.path.join(TARGET, "grok2api")
LOADER = os.environ.get("LOADER", os.path.join(TARGET, "examples", "loader"))
HERE = tempfile.mkdtemp(prefix="grok2api-cluster-")
TICKS = os.sysconf("SC_CLK_TCK")
TEAMS, KEYS_PER_TEAM, CLIENT_KEYS = 50, 4, 20
PASSWORD = "a password for benches"
MODEL = "grok-4.6"


def team(at):
    return f"7ea00000-0000-4000-8000-{at:012}"


def secret(at, key):
    return f"xai-{at:04}{key:02}" + "abcdefgh" * 9 + "zz"


def call(url, body=None, bearer=None):
    headers = {"content-type": "application/json"}
    if bearer:
        headers["authorization"] = "Bearer " + bearer
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers), timeout=60) as answer:
        return json.load(answer)


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Cluster:
    """Three nodes over three NATS servers, or (`apart`) so many that do not know of each other, with limits for a rate."""

    def __init__(self, name, nodes, rate, apart=False):
        self.dir = os.path.join(HERE, name)
        self.nodes = nodes
        per_team = max(1, rate * 60 // TEAMS)
        limit = max(1, per_team // 2) if args.tight else per_team * 2
        scenario = os.path.join(HERE, name + ".json")
        keys = {at: [secret(at, key) for key in range(KEYS_PER_TEAM)] for at in range(TEAMS)}
        with open(scenario, "w") as file:
            json.dump(
                {
                    "pace_ms": 0,
                    "first_token_ms": 0,
                    "answer_chunks": 8,
                    "teams": [{"id": team(at), "keys": keys[at], "limits": {"*": {"rpm": limit}}} for at in range(TEAMS)],
                },
                file,
            )
        config = "config_version = 1\n" + "".join(
            f'[[xai.teams]]\nid = "{team(at)}"\n[xai.teams.limits."*"]\nrpm = {limit}\n' for at in range(TEAMS)
        )
        base = free_ports()
        self.port = base
        for at in range(1, nodes + 1):
            os.makedirs(os.path.join(self.dir, f"node{at}"), exist_ok=True)
            with open(os.path.join(self.dir, f"node{at}", "config.toml"), "w") as file:
                file.write(config)
        env = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "NATS_SERVER")},
            "GROK2API": PROGRAM,
            "PORT": str(base),
            "SCENARIO": scenario,
            "XAI_API_KEY": ",".join(one for at in range(TEAMS) for one in keys[at]),
            "GROK2API__APP__APP_KEY": PASSWORD,
            "LOG_LEVEL": "warn",
        }
        self.env = env
        self.lone = []
        if not apart:
            subprocess.run([os.path.join(TOP, "deploy", "local-cluster"), "up", self.dir], env=env, check=True, stdout=subprocess.DEVNULL)
        else:
            self.alone(env, scenario)
        self.urls = [f"http://127.0.0.1:{base + 10 + at}" for at in range(1, nodes + 1)]
        self.pids = [int(open(os.path.join(self.dir, f"node{at}.pid")).read()) for at in range(1, nodes + 1)]
        per_key = max(1, rate * 60 // CLIENT_KEYS)
        # Clients of a cluster have their keys everywhere, those of nodes apart on theirs.
        self.groups = []
        for urls in [[url] for url in self.urls] if apart else [self.urls]:
            admin = urls[0] + "/api/v1/admin"
            token = call(admin + "/login", {"username": "admin", "password": PASSWORD})["token"]
            keys = [
                call(admin + "/keys", {"name": f"client {at}", "rpm": per_key * 2, "budget_usd": 1_000_000}, token)["data"]["key"]
                for at in range(CLIENT_KEYS)
            ]
            end = time.time() + 60
            while call(admin + "/tokens/counts", bearer=token)["teams"] < TEAMS:
                assert time.time() < end, "the teams of the keys are not known"
                time.sleep(0.2)
            self.groups.append((urls, keys))
        time.sleep(3)

    def alone(self, env, scenario):
        upstream = f"http://127.0.0.1:{self.port + 10}"
        programs = [("simulator", [PROGRAM, "simulate", "--port", str(self.port + 10), "--scenario", scenario], upstream + "/__sim/stats")]
        for at in range(1, self.nodes + 1):
            port = str(self.port + 10 + at)
            node = [PROGRAM, "serve", "--data-dir", os.path.join(self.dir, f"node{at}"), "--host", "127.0.0.1", "--port", port]
            programs.append((f"node{at}", node, f"http://127.0.0.1:{port}/readyz"))
        for name, command, url in programs:
            out = open(os.path.join(self.dir, name + ".log"), "wb")
            more = {"GROK2API__XAI__BASE_URL": upstream + "/v1"}
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**env, **more}, cwd=self.dir)
            self.lone.append(process)
            with open(os.path.join(self.dir, name + ".pid"), "w") as file:
                file.write(str(process.pid))
            for _ in range(600):
                try:
                    urllib.request.urlopen(url, timeout=2)
                    break
                except OSError:
                    time.sleep(0.1)

    def down(self):
        if self.lone:
            for process in reversed(self.lone):
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=60)
        else:
            subprocess.run([os.path.join(TOP, "deploy", "local-cluster"), "down", self.dir], env=self.env, check=True)

    def load(self, rate, seconds):
        """Starts the load; its result comes from `result`."""
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "call {n}: " + "word " * 40}]})
        processes = []
        for urls, keys in self.groups:
            urls = ",".join(url + "/v1/chat/completions" for url in urls)
            share = str(rate // len(self.groups))
            process = subprocess.Popen(
                [LOADER, urls, ",".join(keys), "open", share, str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            process.stdin.write(body.encode())
            process.stdin.close()
            processes.append(process)
        return processes

    def messages(self):
        """What the servers counted: all that came in from clients and peers, what clients published, what left."""
        total, published, left = 0, 0, 0
        for at in range(1, 4):
            monitor = f"http://127.0.0.1:{self.port + 6 + at}"
            varz = call(monitor + "/varz")
            total += varz["in_msgs"]
            left += varz["out_msgs"]
            published += sum(one["in_msgs"] for one in call(monitor + "/connz?limit=1024")["connections"])
        return total, published, left

    def appends(self):
        total = 0
        for url in self.urls:
            with urllib.request.urlopen(url + "/metrics", timeout=10) as answer:
                for line in answer.read().decode().splitlines():
                    if line.startswith("grok2api_ledger_appends_total"):
                        total += float(line.rsplit(" ", 1)[1])
        return total


def free_ports():
    """The first of sixteen ports that are free now."""
    for base in range(21000 + os.getpid() % 500 * 16, 60000, 16):
        try:
            for port in range(base, base + 16):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
            return base
        except OSError:
            pass
    raise SystemExit("no free ports")


def result(processes):
    results = [json.loads(process.stdout.read().decode().strip().splitlines()[-1]) for process in processes]
    sums = {name: sum(one[name] for one in results) for name in ("good", "bad")}
    return {**sums, **{name: max(one[name] for one in results) for name in ("p50_us", "p99_us")}}


def messages():
    limits = "half" if args.tight else "twice"
    print(f"\n3 nodes, 3 servers, R3, {TEAMS * KEYS_PER_TEAM} keys in {TEAMS} teams with limits of {limits} the demand, {CLIENT_KEYS} client keys; {args.seconds} s each\n")
    print("| requests/s | answered | refused | messages/s, all servers' in_msgs | a request | published by nodes/s | a request | appends/s | p50, p99 ms |\n|---|---|---|---|---|---|---|---|---|")
    for rate in [int(rate) for rate in args.rates.split(",")]:
        cluster = Cluster(f"messages{rate}", 3, rate or 20)
        try:
            load = cluster.load(rate, args.warm + args.seconds + 2) if rate else None
            time.sleep(args.warm)
            before, appends, began = cluster.messages(), cluster.appends(), time.monotonic()
            time.sleep(args.seconds)
            after, appends, took = cluster.messages(), cluster.appends() - appends, time.monotonic() - began
            total, published = (after[0] - before[0]) / took, (after[1] - before[1]) / took
            got = result(load) if load else {"good": 0, "bad": 0, "p50_us": 0, "p99_us": 0}
            requests = rate or 1
            print(
                f"| {rate} | {got['good']} | {got['bad']} | {total:.1f} | {total / requests:.3f} | {published:.1f} | {published / requests:.3f} "
                f"| {appends / took:.1f} | {got['p50_us'] / 1000:.1f}, {got['p99_us'] / 1000:.1f} |",
                flush=True,
            )
        finally:
            cluster.down()


def cpus():
    """Rounds in turn on all; each round's CPU time of the gateway processes a request, and how busy the machine was. Three
    nodes that do not know of each other show what a cluster costs, and what it costs to be three processes; one alone with
    a third of the load, what a request costs a process that rests more."""
    rate = next(rate for rate in map(int, args.rates.split(",")) if rate)
    kinds = {
        "1 node alone": (1, True, rate),
        "1 node alone, a third of the load": (1, True, rate // 3),
        "3 nodes that do not know of each other": (3, True, rate),
        "3 nodes, one cluster": (3, False, rate),
    }
    clusters = {kind: Cluster(f"cpu{at}", nodes, load, apart) for at, (kind, (nodes, apart, load)) in enumerate(kinds.items())}
    samples, busy, late = ({kind: [] for kind in kinds} for _ in range(3))
    try:
        for _ in range(args.rounds):
            for kind, cluster in clusters.items():
                requests = kinds[kind][2]
                load = cluster.load(requests, args.seconds)
                time.sleep(2)
                before, idle, began = sum(map(cpu, cluster.pids)), machine(), time.monotonic()
                time.sleep(args.seconds - 3)
                used, took = sum(map(cpu, cluster.pids)) - before, time.monotonic() - began
                idle = machine() - idle
                got = result(load)
                assert got["bad"] <= got["good"] // 100, got
                samples[kind].append(used / (requests * took) * 1e6)
                busy[kind].append(1 - idle / (took * os.cpu_count()))
                late[kind].append(got["p99_us"] / 1000)
    finally:
        for cluster in clusters.values():
            cluster.down()
    print(f"\n{rate} requests/s, {args.rounds} interleaved rounds of {args.seconds - 3} s\n")
    print("| | CPU a request, µs (median; all) | of one alone | machine busy | p99 ms |\n|---|---|---|---|---|")
    alone = statistics.median(next(iter(samples.values())))
    for kind in kinds:
        rounds = ", ".join(f"{one:.0f}" for one in samples[kind])
        median = statistics.median(samples[kind])
        print(
            f"| {kind} | {median:.0f} ({rounds}) | {median / alone:.2f} | {100 * statistics.median(busy[kind]):.0f} % "
            f"| {statistics.median(late[kind]):.1f} |"
        )


def machine():
    """Seconds that the machine's cores were idle."""
    fields = open("/proc/stat").readline().split()
    return (int(fields[4]) + int(fields[5])) / TICKS


messages() if args.what == "messages" else cpus()
