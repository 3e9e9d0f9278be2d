"""The daemons that the laboratory puts before the server: ringfence, and fail2ban to compare with.

Both run on the victim, read the server's log and are judged only by what the
kernel lets through. Each knows how to start (and when it is ready), to be
killed, to be restarted, and to say whom it banned.
"""

import contextlib
import ipaddress
import json
import os
import re
import signal
import socket
import sqlite3
from pathlib import Path

import lab

MAXRETRY = 5
KEY = "0123456789abcdef0123456789abcdef"
STANDIN = "192.0.2.53:8080"


class Daemon:
    """What both have in common: a folder, a process, a log."""

    def __init__(self, name):
        self.folder = lab.RUN / name
        self.folder.mkdir(exist_ok=True)
        self.log = self.folder / "daemon.log"
        self.process = None

    def kill(self):
        """SIGKILL: it cannot say goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self):
        """SIGTERM, as a restart begins."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(lab.PATIENCE_SECONDS)

    def said(self):
        """Everything it logged, over all its lives."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Ringfence(Daemon):
    """ringfence with one jail for the server's log and, if told so, APIBAN's stand-in for its list.

    `preload` is what the stand-in lists before the start, `listed` what it says yes to when asked.
    Without either there is no key, and so no APIBAN."""

    def __init__(self, listed=(), preload=()):
        super().__init__("ringfence")
        self.binary = program("RINGFENCE", "ringfence")
        self.standin = None
        settings = (f'state_dir = "{self.folder}/state"\nsocket = "{self.folder}/ringfence.sock"\n'
                    'protect = ["192.0.2.99"]\n')
        if listed or preload:
            settings += self._apiban(listed, preload)
        (self.folder / "ringfence.toml").write_text(settings)
        (self.folder / "jail.d").mkdir(exist_ok=True)
        (self.folder / "jail.d" / "lab.conf").write_text(
            f"[kamailio]\nenabled = true\nlogpath = {lab.SERVER_LOG}\n"
            f"maxretry = {MAXRETRY}\nfindtime = 600\nbantime = 3600\n"
        )

    def _apiban(self, listed, preload):
        """Starts the stand-in in the internet and returns the settings for it."""
        (self.folder / "key").write_text(KEY + "\n")
        (self.folder / "key").chmod(0o600)
        (self.folder / "preload").write_text("".join(f"{address}\n" for address in preload))
        (self.folder / "listed").write_text("".join(f"{address}\n" for address in listed))
        self.standin = lab.start(
            "net", program("APIBAN_STANDIN", "examples/apiban-standin"),
            "--listen", STANDIN, "--key", KEY,
            "--preload", self.folder / "preload", "--listed", self.folder / "listed",
            log=self.folder / "standin.log",
        )
        lab.until("the APIBAN stand-in listens", lambda: STANDIN in lab.run("net", "ss", "-ltnH"))
        return (f'[apiban]\nurl = "http://{STANDIN}/"\ninsecure_http = true\naccept_reserved = true\n'
                f'key_file = "{self.folder}/key"\npoll = "60s"\n')

    def start(self):
        """Starts it and waits until it says that it is ready (systemd's way: READY=1)."""
        path = self.folder / "notify.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(path))
            notify.settimeout(0.2)
            self.process = lab.start(
                "victim", self.binary, "run", "--config-dir", self.folder,
                log=self.log, env={**os.environ, "NOTIFY_SOCKET": str(path), "NO_COLOR": "1"},
            )
            lab.until("ringfence is ready", lambda: self._is_ready(notify))

    def _is_ready(self, notify):
        if self.process.poll() is not None:
            raise lab.Failed(f"ringfence ended with {self.process.returncode}:\n{self.said()[-2000:]}")
        try:
            return b"READY=1" in notify.recv(4096).split(b"\n")
        except TimeoutError:
            return False

    def client(self, *verb):
        """One of its commands, in words."""
        return lab.run("victim", self.binary, *verb, "--config-dir", self.folder)

    def status(self):
        return json.loads(self.client("status", "--json"))

    def bans_in_kernel(self):
        """How many addresses its own bans hold in the kernel, the APIBAN list not counted."""
        return sum(
            int(count)
            for name, count in re.findall(
                r"^Name: (\S+)$.*?^Number of entries: (\d+)$", lab.run("victim", "ipset", "list", "-t"), re.S | re.M
            )
            if name.startswith("ringfence-") and "apiban" not in name and "allow" not in name
        )

    def times_logged(self, address):
        """How often its log says that it banned `address`."""
        return len(self._ban_lines(address))

    def times_recorded(self, address):
        """How often its database says so."""
        (path,) = (self.folder / "state").glob("*.sqlite3")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return database.execute("SELECT count(*) FROM bans WHERE ip = ?", [offender(address)]).fetchone()[0]

    def tries_of(self, address):
        """The failed tries that its (only) ban of `address` speaks of."""
        return int(re.search(r"tries=(\d+)", self._ban_lines(address)[0])[1])

    def _ban_lines(self, address):
        return re.findall(rf"\bbanned jail=\S+ addr={re.escape(offender(address))} .*", self.said())

    def stop(self):
        """Ends it for good and takes its rules away."""
        self.client("stop", "--purge")
        self.process.wait(lab.PATIENCE_SECONDS)
        if self.standin:
            lab.end(self.standin)


class Fail2ban(Daemon):
    """Debian's fail2ban with one jail, so that the laboratory can be tried without ringfence."""

    FILTER = r"""
[Definition]
failregex = ^\s*\S+ \S*kamailio\[\d+\]: NOTICE: \{.*\} <script>: Auth error for \S+ from <ADDR> cause -[23]$
"""
    ACTION = """
[Definition]
actionstart = ipset create f2b-<family> hash:ip family <family> timeout 3600
              <iptables> -t raw -I PREROUTING -m set --match-set f2b-<family> src -j DROP
actionstop =
actionban = ipset add f2b-<family> <ip> -exist
actionunban = ipset del f2b-<family> <ip> -exist

[Init]
family = inet
iptables = iptables

[Init?family=inet6]
family = inet6
iptables = ip6tables
"""

    def __init__(self, **_):
        super().__init__("fail2ban")
        for name in ("filter.d", "action.d"):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "filter.d" / "lab.conf").write_text(self.FILTER)
        (self.folder / "action.d" / "lab.conf").write_text(self.ACTION)
        (self.folder / "fail2ban.conf").write_text(
            f"[Definition]\nloglevel = INFO\nlogtarget = STDOUT\nsyslogsocket = auto\nsocket = {self.folder}/sock\n"
            f"pidfile = {self.folder}/pid\ndbfile = {self.folder}/db.sqlite3\ndbpurgeage = 1d\n"
        )
        (self.folder / "jail.conf").write_text(
            f"[kamailio]\nenabled = true\nbackend = pyinotify\nfilter = lab\naction = lab\n"
            f"logpath = {lab.SERVER_LOG}\nmaxretry = {MAXRETRY}\nfindtime = 600\nbantime = 3600\nusedns = no\n"
        )

    def start(self):
        self.process = lab.start("victim", "fail2ban-server", "-c", self.folder, "-f", "start", log=self.log)
        lab.until("fail2ban is ready", lambda: "Jail 'kamailio' started" in self.said())
        # It makes its sets and rules at the first ban of a family; that shall not count against it.
        first = ["198.51.100.254", "2001:db8:bad:fe::1"]
        lab.write_tries(first, times=MAXRETRY)
        lab.until("fail2ban's first bans", lambda: all(a in lab.run("victim", "ipset", "list") for a in first))

    def stop(self):
        self.terminate()


def offender(address):
    """Whom ringfence bans for what `address` does: the address, or its /64."""
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if ":" in address else address


def program(variable, name):
    """A program of ours: named by an environment variable, or where `cargo build --release` puts it."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", lab.HERE.parent.parent / "target"))
    path = Path(os.environ.get(variable, target / "release" / name)).resolve()
    if not os.access(path, os.X_OK):
        raise lab.Failed(f"{path} is not there: run `cargo build --release --bins --examples`, or set {variable}")
    return path
