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
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# A hang becomes a failure after this long.
PATIENCE_SECONDS = 60
# The feed asks for news so often, and not more often.
POLL_SECONDS = 60
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
KEY = "0123456789abcdef0123456789abcdef"


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


def cause(address):
    """What is written with a ban: the lines that convicted."""
    return json.dumps({"matches": [failed_login(address).strip()] * 5, "failures": 5, "ringfence": "maxretry"})


class Apiban:
    """A stand-in for APIBAN, whose list is empty at first."""

    def __init__(self, folder):
        self.list, key = folder / "apiban", folder / "key"
        self.list.touch()
        key.write_text(KEY)
        key.chmod(0o600)
        program = os.environ.get("APIBAN_STANDIN", TARGET / "release" / "examples" / "apiban-standin")
        self.process = subprocess.Popen([program, "--listen", "127.0.0.1:0", "--key", KEY, "--preload", self.list],
                                        stdout=subprocess.PIPE, text=True)
        where = self.process.stdout.readline().split()[-1]
        # What it says of requests nobody reads.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.settings = (f"apiban.url = 'http://{where}/'\napiban.insecure_http = true\napiban.accept_reserved = true\n"
                         f"apiban.key_file = '{key}'\napiban.poll = '{POLL_SECONDS}s'\n")

    def add(self, addresses):
        """They are new on it, also those that it has already."""
        with self.list.open("a") as file:
            file.write("".join(f"{address}\n" for address in addresses))

    def end(self):
        self.process.kill()
        self.process.wait()


class Daemon:
    """With one jail of ours, and one for each of `stock`: a name, a stock action of fail2ban's, and how it judges."""

    def __init__(self, folder, log, jail, settings="", stock=()):
        self.folder = folder
        self.binary = os.environ.get("RINGFENCE", TARGET / "release" / "ringfence")
        (folder / "jail.d").mkdir()
        (folder / "ringfence.toml").write_text(f'state_dir = "{folder}/state"\nsocket = "{folder}/socket"\n{settings}')
        (folder / "jail.d" / "lab.conf").write_text(
            f"[asterisk]\nenabled = false\n[freeswitch]\nenabled = false\n[kamailio]\nenabled = true\nlogpath = {log}\n{jail}"
            + "".join(f"[{name}]\nenabled = true\nfilter = kamailio\nlogpath = {log}\naction = {action}\n{judges}" for name, action, judges in stock))
        if stock:
            (folder / "action.d").symlink_to("/etc/fail2ban/action.d")
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

    def write_bans(self, jail, addresses):
        """Bans in the database, as if they had been laid on before."""
        now = int(time.time())
        with self._database() as database, database:
            database.execute("INSERT OR IGNORE INTO jails(name) VALUES(?)", [jail])
            for table in ["bips", "bans"]:
                database.executemany(f"INSERT INTO {table}(jail, ip, timeofban, bantime, bancount, data) "
                                     "VALUES(?, ?, ?, 86400, 1, ?)", [(jail, one, now, cause(one)) for one in addresses])

    def write_list(self, addresses):
        """APIBAN's list, as if it had been asked for before."""
        expires = int(time.time()) + 86_400
        with self._database() as database, database:
            database.executemany("INSERT OR IGNORE INTO ringfence_list VALUES(?, ?)", [(one, expires) for one in addresses])

    def _database(self):
        (path,) = (self.folder / "state").glob("*.sqlite3")
        return contextlib.closing(sqlite3.connect(path))

    def recorded(self):
        """Everybody in the database's history of bans: how many rows, and the highest count."""
        with self._database() as database:
            rows = database.execute("SELECT ip, count(*), max(bancount) FROM bans GROUP BY ip").fetchall()
        return {ip: (times, count) for ip, times, count in rows}
