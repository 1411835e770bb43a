#!/usr/bin/env python3
"""Measure the hub's AMQP 1.0 beside its own MQTT and beside RabbitMQ: the same rows, interleaved A B A B, as CPU per delivered message.

    amqp_compare.py --hub 'CMD that listens for MQTT on 127.0.0.1:18850 and for AMQP on 127.0.0.1:18851'
                    [--rows SUBSTR,...] [--rounds 3] [--seconds 1.5] [--links 2000] [--loadgen PATH] [--json FILE]

Senders send into queues, receivers take and settle. `mqtt` is the hub's own row of 4 pairs at QoS 1 with payloads as large. RabbitMQ (Debian's, with its
plugin for AMQP 1.0) is started here with ports, a name and a folder of its own, and stopped at the end; without it, it is left out. Before all: idle
links, 2,000 on each of 4 connections, as resident bytes each. Exit 1 when a run of ours lost or duplicated a message or stalled.
"""
import argparse, json, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

MQTT, AMQP, RABBIT, EPMD = 18850, 18851, 18852, 18853
RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
ROWS = {}
for settled in (False, True):
    for size, name in ((64, "64B"), (256, "256B"), (1024, "1KiB"), (16384, "16KiB")):
        row = f"{name}-{'settled' if settled else 'unsettled'}"
        flags = ["--settled"] if settled else []
        ROWS[f"pairs4-{row}"] = (size, ["--layout", "pairs", "--senders", "4", *flags])
        ROWS[f"one-{row}"] = (size, ["--senders", "1", "--window", "1000", *flags])
        if size <= 256:
            ROWS[f"fanin8-{row}"] = (size, ["--layout", "fan-in", "--senders", "8", *flags])


def rabbitmq(tmp):
    """The command and environment of a RabbitMQ with nothing outside of `tmp` and loopback."""
    home = os.path.join(tmp, "rabbitmq")
    os.makedirs(home)
    with open(f"{home}/plugins", "w") as f:
        f.write("[rabbitmq_amqp1_0].\n")
    with open(f"{home}/rabbitmq.conf", "w") as f:
        f.write(f"listeners.tcp.default = 127.0.0.1:{RABBIT}\nlog.console = false\n")
    env = dict(os.environ, HOME=home, RABBITMQ_NODENAME="roadbed-bench@localhost", RABBITMQ_NODE_PORT=str(RABBIT), RABBITMQ_DIST_PORT=str(EPMD + 1),
               RABBITMQ_MNESIA_BASE=f"{home}/data", RABBITMQ_LOG_BASE=f"{home}/log", RABBITMQ_ENABLED_PLUGINS_FILE=f"{home}/plugins",
               RABBITMQ_CONFIG_FILE=f"{home}/rabbitmq", RABBITMQ_CONF_ENV_FILE=f"{home}/none", RABBITMQ_PID_FILE=f"{home}/pid",
               RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}", ERL_EPMD_PORT=str(EPMD), ERL_EPMD_ADDRESS="127.0.0.1")
    return [RABBITMQ], env


def wait_port(port, proc, name, seconds=90):
    end = time.time() + seconds
    while time.time() < end:
        if proc.poll() is not None:
            sys.exit(f"{name} ended at once with {proc.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"{name} does not listen on {port}")


def measure(loadgen, mode, port, proc, args):
    cmd = [loadgen, mode, "--addr", f"127.0.0.1:{port}", "--server-pid", str(proc.pid), "--children", *args]
    try:
        p = subprocess.run(cmd, capture_output=True, text=True, timeout=180)
        return json.loads(p.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError, subprocess.TimeoutExpired) as error:
        return {"error": repr(error)}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--hub", required=True)
    ap.add_argument("--rows", default="")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=1.5)
    ap.add_argument("--links", type=int, default=2000, help="idle links of each of 4 connections; 0: none")
    here = os.path.dirname(os.path.abspath(__file__))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(here, "../target"))
    ap.add_argument("--loadgen", default=os.environ.get("LOADGEN", os.path.normpath(os.path.join(target, "release/loadgen"))))
    ap.add_argument("--json")
    a = ap.parse_args()
    rows = {k: v for k, v in ROWS.items() if not a.rows or any(s in k for s in a.rows.split(","))}
    tmp = tempfile.mkdtemp(prefix="compare-")
    procs, got, bad, links = {}, {}, [], {}
    try:
        log = lambda name: open(os.path.join(tmp, name + ".log"), "w")

        def start_hub():
            procs["hub"] = subprocess.Popen(["sh", "-c", "exec " + a.hub], stdout=log("hub"), stderr=log("hub"), start_new_session=True)
            wait_port(MQTT, procs["hub"], "the hub")
            wait_port(AMQP, procs["hub"], "the hub")
            return procs["hub"]

        # Each kind in a hub of its own: memory that others have given back would not show.
        for kind, flags in (("senders", []), ("receivers", ["--receive"])):
            if a.links:
                hub, args = start_hub(), ["--conns", "4", "--links", str(a.links), "--address", "queues/idle", *flags]
                found = measure(a.loadgen, "amqp-links", AMQP, hub, args)
                links[kind] = found.get("rss_bytes_per_link", found)
                os.killpg(hub.pid, signal.SIGTERM)
                hub.wait(15)
        hub = start_hub()
        servers = [("mqtt", MQTT, hub), ("hub", AMQP, hub)]
        if os.path.exists(RABBITMQ):
            cmd, env = rabbitmq(tmp)
            rabbit = procs["rabbitmq"] = subprocess.Popen(cmd, env=env, stdout=log("rabbitmq"), stderr=log("rabbitmq"), start_new_session=True)
            wait_port(RABBIT, rabbit, "rabbitmq")
            time.sleep(3)
            servers.append(("rabbitmq", RABBIT, rabbit))
        else:
            print("not installed, left out: rabbitmq", file=sys.stderr)
        for row, (size, args) in rows.items():
            for r in range(a.rounds):
                for name, port, proc in (servers if r % 2 == 0 else servers[::-1]):
                    long = ["--size", str(size), "--count", "4000000000", "--seconds", str(a.seconds)]
                    if name == "mqtt":
                        pairs = ["--layout", "pairs", "--pubs", "4", "--subs", "4", "--pub-qos", "1", "--sub-qos", "1"]
                        j = measure(a.loadgen, "pubsub", port, proc, [*pairs, *long])
                    else:
                        address = f"{'/queue/' if name == 'rabbitmq' else 'queues/'}{row}-{r}-"
                        login = ["--user", "guest", "--pass", "guest"] if name == "rabbitmq" else []
                        j = measure(a.loadgen, "amqp", port, proc, ["--address", address, *login, *args, *long])
                    faults = {k: j[k] for k in ("lost", "duplicated", "reordered", "stalled", "closed", "error") if j.get(k)}
                    if faults and name != "rabbitmq":
                        bad.append((row, name, faults))
                    elif faults:
                        print(f"{name}, {row}: {faults}", file=sys.stderr)
                    cpu = (j.get("server") or {}).get("cpu_us_per_msg")
                    if cpu and not faults:
                        got.setdefault(row, {}).setdefault(name, []).append(cpu)
    finally:
        for p in procs.values():
            if p.poll() is None:
                os.killpg(p.pid, signal.SIGTERM)
        for p in procs.values():
            try:
                p.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
        if "rabbitmq" in procs and (epmd := shutil.which("epmd")):
            subprocess.run([epmd, "-port", str(EPMD), "-kill"], capture_output=True)
        shutil.rmtree(tmp, ignore_errors=True)
    print("CPU us per delivered message, median of %d interleaved rounds; load %.1f" % (a.rounds, os.getloadavg()[0]))
    print("%-24s%10s%10s%12s%14s%14s" % ("row", "hub", "mqtt", "rabbitmq", "hub / mqtt", "hub / rabbit"))
    out = {}
    for row in rows:
        med = {n: statistics.median(v) for n, v in got.get(row, {}).items()}
        over = lambda other: med["hub"] / med[other] if "hub" in med and other in med else None
        out[row] = {"cpu_us": med, "mqtt": over("mqtt"), "rabbitmq": over("rabbitmq")}
        cell = lambda value: "-" if value is None else "%.2f" % value
        ratio = "-" if out[row]["rabbitmq"] is None else "%.3f" % out[row]["rabbitmq"]
        print("%-24s%10s%10s%12s%14s%14s" % (row, cell(med.get("hub")), cell(med.get("mqtt")), cell(med.get("rabbitmq")), cell(out[row]["mqtt"]), ratio))
    for kind, bytes_each in links.items():
        print(f"idle {kind}, {a.links} on each of 4 connections: {bytes_each} B each")
    for row, name, faults in bad:
        print("FAULT in ours:", row, name, faults)
    if a.json:
        json.dump({"rows": out, "links": links, "faults": bad}, open(a.json, "w"), indent=1)
    sys.exit(1 if bad else 0)


main()
