"""A daemon alone in namespaces of its own, with a log of Kamailio's: for what kills,
restarts and upgrades do to it.

  RINGFENCE   the program, if not target/release/ringfence
"""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# A hang becomes a failure after this long.
PATIENCE_SECONDS = 60


def inside(script):
    """Runs the script again in namespaces of its own, where the kernel ends all of it when we end."""
    if os.environ.get("RINGFENCE_LAB_INSIDE") is None:
        inside = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        os.execvpe(inside[0], [*inside, sys.executable, "-B", script, *sys.argv[1:]],
                   {**os.environ, "RINGFENCE_LAB_INSIDE": "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def failed_login(address):
    """A line of Kamailio's, of now."""
    return (f"{time.strftime('%b %e %H:%M:%S')} sip1 kamailio[7]: NOTICE: {{1 2 REGISTER 4072471650}} <script>: "
            f"Auth error for 1001@192.0.2.10 from {address} cause -2\n")


class Daemon:
    def __init__(self, folder, log, jail, settings=""):
        self.folder = folder
        target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
        self.binary = os.environ.get("RINGFENCE", target / "release" / "ringfence")
        (folder / "jail.d").mkdir()
        (folder / "ringfence.toml").write_text(f'state_dir = "{folder}/state"\nsocket = "{folder}/socket"\n{settings}')
        (folder / "jail.d" / "lab.conf").write_text(
            f"[asterisk]\nenabled = false\n[freeswitch]\nenabled = false\n[kamailio]\nenabled = true\nlogpath = {log}\n{jail}")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify"))
        self.notify.setblocking(False)

    def start(self):
        self._is_ready()
        with (self.folder / "log").open("a") as said:
            self.process = subprocess.Popen(
                [self.binary, "run", "--config-dir", self.folder], stdout=subprocess.DEVNULL, stderr=said,
                env={**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify"), "NO_COLOR": "1"})

    def _is_ready(self):
        """Takes what it has told systemd since we last asked."""
        told = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                told += self.notify.recv(4096)
        return b"READY=1" in told

    def wait(self):
        """Waits until it is ready."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not self._is_ready():
            if time.monotonic() > until or self.process.poll() is not None:
                sys.exit(f"lab: ringfence is not ready:\n{self.said()[-3000:]}")
            time.sleep(0.002)

    def kill(self):
        """True if it became ready since we last asked; it must not have ended before."""
        if self.process.poll() is not None:
            sys.exit(f"lab: ringfence ended with {self.process.returncode}:\n{self.said()[-3000:]}")
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return self._is_ready()

    def client(self, *verb, check=True):
        """What one of its commands says."""
        asked = subprocess.run([self.binary, *verb, "--config-dir", self.folder], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, check=False)
        if check and asked.returncode != 0:
            sys.exit(f"lab: {verb}: {asked.stdout}{asked.stderr}\n{self.said()[-3000:]}")
        return asked.stdout

    def shown(self, *verb):
        return json.loads(self.client(*verb, "--json"))

    def said(self):
        return (self.folder / "log").read_text(errors="replace")

    def read_to(self, log):
        """Waits until it has read the log to its end."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            asked = subprocess.run([self.binary, "status", "--json", "--config-dir", self.folder],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
            logs = json.loads(asked.stdout)["logs"] if asked.returncode == 0 else []
            if any(one["path"] == str(log) and one["offset"] == log.stat().st_size for one in logs):
                return
            time.sleep(0.05)
        sys.exit(f"lab: the log was not read to its end:\n{self.said()[-3000:]}")

    def end(self):
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)

    def recorded(self):
        """Everybody in the database's history of bans: how many rows, and the highest count."""
        (path,) = (self.folder / "state").glob("*.sqlite3")
        with contextlib.closing(sqlite3.connect(path)) as database:
            rows = database.execute("SELECT ip, count(*), max(bancount) FROM bans GROUP BY ip").fetchall()
        return {ip: (times, count) for ip, times, count in rows}
