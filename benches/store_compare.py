#!/usr/bin/env python3
"""Measure the hub with its store on: beside nats-server, beside itself in memory, in bytes on the disk, and reopening beside redb.

    store_compare.py --roadbed PATH [--parts persist,bytes,rows,reopen] [--rows SUBSTR,...] [--rounds 3] [--seconds 1.5]
                     [--before PATH] [--redb PATH] [--data DIR] [--loadgen PATH] [--json FILE]

persist   QoS 1 into a session that is away, and the drain: CPU per message, ours and nats-server (file store) interleaved; and ours killed with
          kill -9 in the middle of the fill: acknowledged and lost.
bytes     64 connections with 32 messages in flight each: bytes written per payload byte (/proc/PID/io), and CPU per message.
rows      the rows of `compare.py`, of a hub with a store beside one in memory. `kept`: subscribers are kept sessions; `queue`: topics are durable
          queues; what is sent at QoS 1 and 2 to these is stored. To plain subscribers nothing is.
reopen    1 GiB in the queues of sessions that are away, kill -9, and the time and the peak memory of the hub until a client is let in; beside redb with
          the same messages under the usual keys (`--redb`: the example `redb` of roadbed-benches), interleaved.

--before: another build of the hub, measured in the same rounds. Everything runs on loopback in --data, which should be on a real disk. Exit 1 when a run of ours
lost or duplicated a message, or stalled.
"""
import argparse, json, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

PORTS = iter(range(18860, 18960))
FAULTS = ("lost", "duplicated", "reordered", "stalled", "closed", "error")
ROWS = {}
for kind, flags, all_qos in (("plain", [], (0, 1, 2)), ("kept", ["--keep"], (1, 2)), ("queue", ["--queues"], (1, 2))):
    for q in all_qos:
        ROWS[f"{kind}-q{q}-64B"] = (64, ["--layout", "pairs", "--pubs", "4", "--subs", "4", "--pub-qos", str(q), "--sub-qos", str(q), *flags])
for kind, flags in (("plain", []), ("kept", ["--keep"])):
    ROWS[f"{kind}-fanin50-q1-64B"] = (64, ["--layout", "fan-in", "--pubs", "50", "--pub-qos", "1", "--sub-qos", "1", *flags])
    ROWS[f"{kind}-q1-1KiB"] = (1024, ["--layout", "pairs", "--pubs", "4", "--subs", "4", "--pub-qos", "1", "--sub-qos", "1", *flags])


class Server:
    """A server in a process group of its own, with a folder of its own."""

    def __init__(self, bench, name, argv, port):
        self.name, self.argv, self.port = name, argv, port
        self.log = open(os.path.join(bench.tmp, f"{name}-{port}.log"), "a")
        self.proc = None
        bench.servers.append(self)
        self.start()

    def start(self):
        self.proc = subprocess.Popen(self.argv, stdout=self.log, stderr=self.log, start_new_session=True)
        end = time.time() + 60
        while time.time() < end:
            if self.proc.poll() is not None:
                sys.exit(f"{self.name} ended at once with {self.proc.returncode}")
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{self.name} does not listen on {self.port}")

    def stop(self):
        if self.proc.poll() is None:
            os.killpg(self.proc.pid, signal.SIGTERM)
            try:
                self.proc.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.proc.pid, signal.SIGKILL)
                self.proc.wait()
        self.log.close()


class Bench:
    def __init__(self, a):
        self.a, self.servers, self.faults, self.out = a, [], [], {}
        self.tmp = tempfile.mkdtemp(prefix="store-compare-", dir=a.data)

    def hub_argv(self, path, port, data):
        store = ["--data", data] if data else ["--memory"]
        return [path, "serve", "--mqtt", f"127.0.0.1:{port}", *store]

    def hub(self, name, path, stored=True):
        port = next(PORTS)
        return Server(self, name, self.hub_argv(path, port, os.path.join(self.tmp, f"{name}-{port}") if stored else None), port)

    def hubs(self):
        """The hub, and the one before if there is one."""
        before = [self.hub("before", self.a.before)] if self.a.before else []
        return [self.hub("hub", self.a.roadbed), *before]

    def nats(self):
        exe = shutil.which("nats-server")
        if not exe:
            print("not installed, left out: nats-server", file=sys.stderr)
            return []
        port, d = next(PORTS), os.path.join(self.tmp, "nats")
        os.makedirs(d)
        with open(f"{d}/n.conf", "w") as f:
            f.write(f"host: 127.0.0.1\nport: {port + 100}\nserver_name: peer\njetstream {{ store_dir: {d}/js, max_mem: 1G, max_file: 4G }}\n"
                    f"mqtt {{ host: 127.0.0.1, port: {port}, max_ack_pending: 1000 }}\n")
        return [Server(self, "nats", [exe, "-c", f"{d}/n.conf"], port)]

    def loadgen(self, mode, server, args, name, timeout=300):
        cmd = [self.a.loadgen, mode, "--addr", f"127.0.0.1:{server.port}", "--server-pid", str(server.proc.pid), *args]
        try:
            p = subprocess.run(cmd, capture_output=True, text=True, timeout=timeout)
            j = json.loads(p.stdout.strip().splitlines()[-1])
        except (IndexError, ValueError):
            j = {"error": p.stderr.strip()[-200:]}
        except subprocess.TimeoutExpired:
            j = {"error": "timed out"}
        faults = {k: j[k] for k in FAULTS if j.get(k)}
        if faults and server.name != "nats":
            self.faults.append((name, server.name, faults))
        return j

    def end(self):
        for server in self.servers:
            server.stop()
        self.servers = []


def interleaved(servers, rounds):
    for r in range(rounds):
        for server in servers if r % 2 == 0 else servers[::-1]:
            yield r, server


def table(title, columns, rows):
    print(f"\n{title}")
    print("".join(("%-28s" if n == 0 else "%14s") % c for n, c in enumerate(columns)))
    for row in rows:
        print("".join(("%-28s" if n == 0 else "%14s") % (c if isinstance(c, str) else "-" if c is None else "%.3g" % c) for n, c in enumerate(row)))


def median(found):
    found = [f for f in found if f is not None]
    return statistics.median(found) if found else None


def over(a, b):
    return a / b if a is not None and b else None


def persist(bench):
    a, got = bench.a, {}
    servers = [*bench.hubs(), *bench.nats()]
    for _, server in interleaved(servers, a.rounds):
        j = bench.loadgen("persist", server, ["--count", "50000"], "persist")
        for what in ("fill", "drain"):
            got.setdefault((what, server.name), []).append((j.get(f"{what}_server") or {}).get("cpu_us_per_msg"))
    bench.end()
    names = [s.name for s in servers]
    med = {k: median(v) for k, v in got.items()}
    rows = [[what, *(med.get((what, n)) for n in names), over(med[what, "hub"], med.get((what, "nats")))] for what in ("fill", "drain")]
    table("persist: CPU us per message, QoS 1, 256 B, one session that is away", ["", *names, "hub / nats"], rows)
    rows = []
    for r in range(a.rounds):
        hub = bench.hub("hub", a.roadbed)
        again = " ".join(hub.argv)
        j = bench.loadgen("persist", hub, ["--count", "50000", "--kill-at", str(10000 + 12000 * (r % 3)), "--restart", again], "kill -9")
        rows.append([f"killed at {j.get('accepted')}", j.get("lost"), j.get("duplicated"), j.get("back_s")])
        bench.end()
    table("persist: kill -9 while it fills", ["", "lost", "duplicated", "back after s"], rows)
    bench.out["persist"] = {"cpu_us": {f"{w} {n}": v for (w, n), v in med.items()}, "kills": rows}


def written(bench):
    rows = []
    for size, count, goal in ((256, 1_000_000, 1.5), (4096, 400_000, 1.1)):
        for kind, flags in (("sessions", []), ("queues", ["--queues"])):
            for hub in bench.hubs():
                args = ["--conns", "64", "--inflight", "32", "--size", str(size), "--count", str(count), "--no-drain", *flags]
                j = bench.loadgen("persist", hub, args, f"bytes {size}")
                found = j.get("fill_server") or {}
                rows.append([f"{size} B, {kind}, {hub.name}", found.get("written_per_payload_byte"), goal, found.get("cpu_us_per_msg"), j.get("fill_msgs_per_s")])
            bench.end()
    table("bytes: 64 connections x 32 in flight", ["", "written/payload", "goal", "CPU us/msg", "msgs/s"], rows)
    bench.out["bytes"] = rows


def rows(bench):
    a, got = bench.a, {}
    wanted = {k: v for k, v in ROWS.items() if not a.rows or any(s in k for s in a.rows.split(","))}
    servers = [bench.hub("memory", a.roadbed, stored=False), *bench.hubs()]
    for row, (size, args) in wanted.items():
        for _, server in interleaved(servers, a.rounds):
            flags = [*args, "--size", str(size), "--count", "4000000000", "--seconds", str(a.seconds)]
            j = bench.loadgen("pubsub", server, flags, row)
            got.setdefault((row, server.name), []).append((j.get("server") or {}).get("cpu_us_per_msg"))
    bench.end()
    names = [s.name for s in servers]
    med = {k: median(v) for k, v in got.items()}
    out = [[row, *(med.get((row, n)) for n in names), over(med.get((row, "hub")), med.get((row, "memory")))] for row in wanted]
    table("rows: CPU us per delivered message; `hub` has its store", ["", *names, "hub / memory"], out)
    bench.out["rows"] = out


def reopen(bench):
    a, size, count = bench.a, 1024, bench.a.reopen_count
    out = []
    for r in range(a.rounds):
        for kind, flags in (("sessions", []), ("queues", ["--queues"])):
            for hub in bench.hubs():
                fill = ["--conns", "64", "--inflight", "256", "--size", str(size), "--count", str(count), "--no-drain", *flags]
                again = ["--kill-at", str(count), "--restart", " ".join(hub.argv), "--restart-seconds", "240"]
                j = bench.loadgen("persist", hub, [*fill, *again], "reopen", timeout=900)
                found = j.get("reopened") or {}
                out.append([f"{hub.name}, {kind}", j.get("back_s"), found.get("cpu_s"), found.get("peak_kib", 0) / 1024])
                bench.end()
                shutil.rmtree(hub.argv[-1], ignore_errors=True)
        if a.redb:
            path = os.path.join(bench.tmp, "redb")
            subprocess.run([a.redb, "fill", path, str(count), str(size)], timeout=900)  # It ends with SIGKILL.
            p = subprocess.run([a.redb, "open", path], capture_output=True, text=True, timeout=900)
            j = json.loads(p.stdout)
            out.append(["redb", j["seconds"], j["cpu_s"], j["peak_kib"] / 1024])
            os.remove(path)
    table(f"reopen: {count} x {size} B, killed with kill -9", ["", "seconds", "CPU s", "peak MiB"], out)
    mine, other = median([r[1] for r in out if r[0].startswith("hub")]), median([r[1] for r in out if r[0] == "redb"])
    if over(mine, other):
        print("hub / redb: %.2f" % over(mine, other))
    bench.out["reopen"] = out


PARTS = {"persist": persist, "bytes": written, "rows": rows, "reopen": reopen}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--roadbed", required=True)
    ap.add_argument("--before")
    ap.add_argument("--redb")
    ap.add_argument("--parts", default=",".join(PARTS))
    ap.add_argument("--rows", default="")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=1.5)
    ap.add_argument("--reopen-count", type=int, default=1 << 20)
    ap.add_argument("--data", help="where the stores are made; the system's folder for temporary files if left out")
    here = os.path.dirname(os.path.abspath(__file__))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(here, "../target"))
    ap.add_argument("--loadgen", default=os.environ.get("LOADGEN", os.path.normpath(os.path.join(target, "release/loadgen"))))
    ap.add_argument("--json")
    a = ap.parse_args()
    bench = Bench(a)
    try:
        for part in a.parts.split(","):
            PARTS[part](bench)
    finally:
        bench.end()
        shutil.rmtree(bench.tmp, ignore_errors=True)
    print("load %.1f" % os.getloadavg()[0])
    for fault in bench.faults:
        print("FAULT in ours:", *fault)
    if a.json:
        json.dump({**bench.out, "faults": bench.faults}, open(a.json, "w"), indent=1)
    sys.exit(1 if bench.faults else 0)


main()
