#!/usr/bin/env python3
"""Measure what a routed POST costs the hub beside nginx's `return 204`: CPU us per request, interleaved A B A B.

    http_compare.py --hub 'CMD that serves HTTP on 127.0.0.1:18840' [--path /v1/messages/bench/telemetry] [--size 256] [--conns 32]
                    [--rounds 3] [--seconds 2] [--goal 2.0] [--json FILE]

nginx is started here on a scratch configuration and a port of its own, with one worker; both are stopped at the end. The load is wrk's: one
thread, keep-alive, one request under way per connection. CPU is user and system time of the server and its children, from /proc/PID/stat.
Exit 1 when an answer of ours was not 2xx, or the ratio is above --goal. `cargo xtask bench --http` builds, installs and starts all it takes.
"""
import argparse, json, os, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time, urllib.request

PORTS = {"hub": 18840, "nginx": 18841}
NGINX = """{user}worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 204; }}
    }}
}}
"""
POST = """wrk.method = "POST"
wrk.body = string.rep("x", {size})
wrk.headers["Content-Type"] = "application/octet-stream"
"""


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def cpu_s(pid):
    """User and system seconds of the process and of all that descend from it and are alive."""
    ticks, children = {}, {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        ticks[int(entry)] = int(fields[11]) + int(fields[12])
        children.setdefault(int(fields[1]), []).append(int(entry))
    total, todo = 0, [pid]
    while todo:
        p = todo.pop()
        total += ticks.get(p, 0)
        todo += children.get(p, [])
    return total / os.sysconf("SC_CLK_TCK")


def wait_port(name, proc, log, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        if proc.poll() is not None:
            sys.exit(f"{name} ended at once with {proc.returncode}: {open(log).read()[-500:]}")
        try:
            socket.create_connection(("127.0.0.1", PORTS[name]), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{name} does not listen on {PORTS[name]}")


def follow(a):
    """Makes a queue follow the path, so that a POST to it is routed: one that keeps the last thousand messages."""
    topic = a.path.removeprefix("/v1/messages/")
    body = json.dumps({"filters": [topic], "queue": {"messages_max": 1000, "overflow": "drop-oldest"}}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORTS['hub']}/v1/subscriptions/bench", body, {"Content-Type": "application/json"},
                                     method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def load(name, pid, a, script):
    """One run of wrk: CPU us per request, requests a second, and how many answers were not 2xx."""
    url = f"http://127.0.0.1:{PORTS[name]}{a.path}"
    before = cpu_s(pid)
    p = subprocess.run(["wrk", "-t1", f"-c{a.conns}", f"-d{a.seconds}s", "-s", script, url], capture_output=True, text=True, timeout=120)
    used = cpu_s(pid) - before
    done = re.search(r"(\d+) requests in ([\d.]+)s", p.stdout)
    if not done or not int(done[1]):
        sys.exit(f"wrk got no answer from {name}: {p.stdout[-300:]}{p.stderr[-300:]}")
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", p.stdout)
    broken = re.search(r"Socket errors: (.*)", p.stdout)
    if broken:
        print(f"{name}: socket errors: {broken[1]}", file=sys.stderr)
    return used * 1e6 / int(done[1]), int(done[1]) / float(done[2]), int(failed[1]) if failed else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--hub", required=True)
    ap.add_argument("--path", default="/v1/messages/bench/telemetry")
    ap.add_argument("--size", type=int, default=256)
    ap.add_argument("--conns", type=int, default=32)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=int, default=2)
    ap.add_argument("--goal", type=float, default=2.0)
    ap.add_argument("--json")
    a = ap.parse_args()
    if missing := [p for p in ("nginx", "wrk") if not shutil.which(p)]:
        sys.exit(f"not installed: {', '.join(missing)} (`cargo xtask install --compare`; they are in target/peers/bin)")
    tmp = tempfile.mkdtemp(prefix="http-compare-")
    script = write(f"{tmp}/post.lua", POST.format(size=a.size))
    user = "user root;\n" if os.geteuid() == 0 else ""
    conf = write(f"{tmp}/nginx.conf", NGINX.format(dir=tmp, port=PORTS["nginx"], user=user))
    cmds = {"hub": ["sh", "-c", "exec " + a.hub], "nginx": ["nginx", "-p", tmp, "-e", f"{tmp}/error.log", "-c", conf]}
    procs, got, bad = {}, {n: [] for n in cmds}, 0
    try:
        for name, cmd in cmds.items():
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", PORTS[name])) == 0:
                    sys.exit(f"something else listens on {PORTS[name]}")
            with open(f"{tmp}/{name}.log", "w") as log:
                procs[name] = subprocess.Popen(cmd, stdout=log, stderr=log, start_new_session=True)
        for name in cmds:
            wait_port(name, procs[name], f"{tmp}/{name}.log")
        follow(a)
        for r in range(a.rounds):
            for name in (list(cmds) if r % 2 == 0 else list(cmds)[::-1]):
                us, rate, failed = load(name, procs[name].pid, a, script)
                print(f"{name:<6}{us:9.2f} us CPU a request{rate:12.0f} requests/s{failed:10} not 2xx", flush=True)
                got[name].append(us)
                bad += failed if name == "hub" else 0
    finally:
        for p in procs.values():
            if p.poll() is None:
                os.killpg(p.pid, signal.SIGTERM)
        for p in procs.values():
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
        shutil.rmtree(tmp, ignore_errors=True)
    med = {n: statistics.median(v) for n, v in got.items()}
    ratio = med["hub"] / med["nginx"]
    print(f"POST of {a.size} B, {a.conns} connections, median of {a.rounds}: hub {med['hub']:.2f} us, nginx return 204 {med['nginx']:.2f} us: "
          f"{ratio:.2f} (goal {a.goal:.2f}); {bad} answers of ours not 2xx")
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"cpu_us": med, "ratio": ratio, "not_2xx": bad}, f, indent=1)
    sys.exit(1 if bad or ratio > a.goal else 0)


main()
