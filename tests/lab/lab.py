"""The laboratory for measuring programs: hosts, counters, arrivals, daemons.

Runs inside the namespaces that `enter` made, on Python's standard library.
Nothing here sleeps for a guess: things are waited for by `until`, and what was
measured comes from the kernel's counters and time stamps or the server's log.
"""

import ipaddress
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUN = Path("/run/lab")
SERVER_LOG = Path("/var/log/kamailio.log")

# How long anything but an attack may take. Far more than it needs; no figure rests on it.
PATIENCE_SECONDS = 30


class Failed(Exception):
    """The laboratory itself did not work, or what was waited for never came."""


def until(what, condition, seconds=PATIENCE_SECONDS):
    """Waits until `condition()` is true and returns what it returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise Failed(f"waited {seconds} s in vain: {what}")


def command(host, *argv):
    """The command line that runs `argv` on `host` (victim, net, phone or an attacker's address)."""
    return ["nsenter", f"--net=/run/netns/{host}", *map(str, argv)]


def run(host, *argv):
    """Runs a command to its end and returns its output."""
    done = subprocess.run(command(host, *argv), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"on {host}, {' '.join(map(str, argv))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def start(host, *argv, log="/dev/null", **options):
    """Starts a command; what it says goes to the file `log`."""
    with open(log, "ab") as out:
        return subprocess.Popen(
            command(host, *argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options
        )


def shell(function, *argv):
    """Calls a function of lib.sh."""
    script = f'source "{HERE}/lib.sh"; {function} "$@"'
    subprocess.run(["bash", "-euo", "pipefail", "-c", script, "lib.sh", *map(str, argv)], check=True)


def end(process):
    """Ends a process that we started, politely, and waits for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- What attacks ---


def crack(address, *options):
    """svcrack from `address`, as fast as it can; see the script `crack`."""
    return attack("crack", address, *options)


def fraud(address, *options):
    """Calls that guess user 1001's password; see the script `fraud`."""
    return attack("fraud", address, *options)


def forge(address, call_id, display, agent):
    """Wrong passwords with forged words; see the script `forge`."""
    return attack("forge", address, call_id, display, agent)


def attack(script, *argv):
    """Starts one of the scripts beside us, in a process group of its own."""
    return subprocess.Popen(
        [HERE / script, *argv],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def end_attack(process):
    """Ends an attack: the script and what it runs."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def phone():
    """The honest phone mistypes its password once and then registers; did that work?"""
    return subprocess.run([HERE / "phone"], stdin=subprocess.DEVNULL, check=False).returncode == 0


def flood(address, per_second=1000):
    """REGISTERs without credentials from `address` at a steady pace, until ended."""
    shell("attacker", address)
    return start(address, "python3", HERE / "lab.py", "flood", address, per_second, log=RUN / "flood.err")


def flood_for_ever(address, per_second):
    """What `flood` runs in the attacker's network."""
    there = "2001:db8::10" if ":" in address else "192.0.2.10"
    bracketed = f"[{there}]" if ":" in there else there
    via = f"[{address}]" if ":" in address else address
    with socket.socket(socket.AF_INET6 if ":" in there else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 5062))
        next_send = time.monotonic()
        number = 0
        while True:
            number += 1
            lines = [f"REGISTER sip:{bracketed} SIP/2.0", f"Via: SIP/2.0/UDP {via}:5062;rport;branch=z9hG4bK{number}",
                     "Max-Forwards: 70", f"From: <sip:1001@{bracketed}>;tag={number}", f"To: <sip:1001@{bracketed}>",
                     f"Call-ID: flood{number}", "CSeq: 1 REGISTER", "Content-Length: 0", "", ""]
            sock.sendto("\r\n".join(lines).encode(), (there, 5060))
            next_send += 1 / per_second
            time.sleep(max(0.0, next_send - time.monotonic()))


# --- What is counted ---


def counters(which):
    """Packets to the SIP port so far by source; `which` is "arrived" (before the bans) or "passed"."""
    counts = {}
    for family in "46":
        listing = json.loads(run("victim", "nft", "-j", "list", "set", "inet", "lab", which + family))
        for entry in listing["nftables"]:
            for element in entry.get("set", {}).get("elem", []):
                counts[element["elem"]["val"]] = element["elem"]["counter"]["packets"]
    return counts


def passed(address):
    """Packets from `address` that reached the server so far."""
    return counters("passed").get(address, 0)


def dropped(address):
    """Packets from `address` that arrived and were kept from the server so far, at least."""
    arrived = counters("arrived").get(address, 0)  # first: one that comes in between is then not taken for dropped
    return max(0, arrived - passed(address))


class Arrivals:
    """Each packet that reached the server, with the kernel's time stamp: a capture of NFLOG group 5."""

    NFULA_TIMESTAMP, NFULA_PAYLOAD = 3, 9

    def __init__(self):
        self.path = RUN / "passed.pcap"
        messages = RUN / "tcpdump.err"
        self.tcpdump = start(
            "victim", "tcpdump", "-i", "nflog:5", "-Z", "root", "-U", "-w", self.path, log=messages
        )
        until("tcpdump listens", lambda: b"listening on" in messages.read_bytes())

    def of(self, address):
        """The times (seconds since 1970) at which packets from `address` reached the server.

        Waits until the capture holds as many as the kernel counted."""
        wanted = passed(address)

        def complete():
            times = [time for time, source in self._packets() if source == address]
            return (times,) if len(times) >= wanted else None

        return until(f"the capture holds the {wanted} packets of {address}", complete)[0]

    def _packets(self):
        """(time, source) of every packet in the capture; pcap's own time is tcpdump's, not the kernel's."""
        data = self.path.read_bytes()
        at = 24
        while at + 16 <= len(data):
            length = struct.unpack_from("<I", data, at + 8)[0]
            record = data[at + 16 : at + 16 + length]
            at += 16 + length
            if len(record) == length:
                yield self._packet(record)

    def _packet(self, record):
        stamp, source = None, None
        at = 4
        while at + 4 <= len(record):
            size, kind = struct.unpack_from("<HH", record, at)
            value = record[at + 4 : at + size]
            if kind == self.NFULA_TIMESTAMP:
                seconds, microseconds = struct.unpack(">QQ", value)
                stamp = seconds + microseconds / 1e6
            elif kind == self.NFULA_PAYLOAD:
                raw = value[8:24] if value[0] >> 4 == 6 else value[12:16]
                source = str(ipaddress.ip_address(raw))
            at += (size + 3) & ~3
        if stamp is None:
            raise Failed("NFLOG gives no time stamp: this kernel is too old for this measurement")
        return stamp, source

    def stop(self):
        end(self.tcpdump)


# --- What the server wrote ---


def log_lines(text, address):
    """The times at which the server sent log lines with `text` and `address`, to the microsecond."""
    pattern = re.compile(rf"(?<![0-9a-f:.]){re.escape(address)}(?![0-9a-f.])")
    lines = (RUN / "exact.log").read_text(errors="replace").splitlines()
    return [float(line.split(" ", 1)[0]) for line in lines if text in line and pattern.search(line)]


def tries(address):
    """The times of the failed tries of `address`: one line of the form A for each."""
    return log_lines("Auth error for", address)


def write_tries(addresses, times=1):
    """Appends failed tries to the server's log, as rsyslogd would write them."""
    stamp = time.strftime("%b %e %H:%M:%S")
    with open(SERVER_LOG, "a") as log:
        for address in addresses:
            line = (f"{stamp} sip1 /usr/sbin/kamailio[91]: NOTICE: {{1 2 REGISTER lab{address}}} <script>: "
                    f"Auth error for 1001@192.0.2.10 from {address} cause -2\n")
            log.write(line * times)


if __name__ == "__main__":
    import sys

    if sys.argv[1] == "flood":
        flood_for_ever(sys.argv[2], float(sys.argv[3]))
