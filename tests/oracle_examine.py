#!/usr/bin/python3
"""The installed fail2ban behind the protocol of `ringfence examine`.

Reads requests from standard input and answers them by calling fail2ban's own filter, so
that a program which drives `ringfence examine` can drive fail2ban as well: to prove the
program, or to compare the two. Debian's Python runs it, since fail2ban is installed there.
"""

import json
import logging
import os
import signal
import sys
import time
import warnings

warnings.simplefilter("ignore")

from fail2ban.client.filterreader import FilterReader
from fail2ban.server import strptime
from fail2ban.server.filter import Filter
from fail2ban.server.mytime import MyTime

# A line that takes longer is given up.
LINE_SECONDS_MAX = 2

# What fail2ban keeps with a failure for its own use; all else are captured groups.
NOT_GROUPS = {
    "ip",
    "matches",
    "nofail-matches",
    "users",
    "mlfpending",
    "nofail",
    "mlfforget",
    "mlfgained",
}


class Recording(Filter):
    """A filter that keeps what is left of a line when its date is cut out."""

    rest = None

    def findFailure(self, line, *arguments, **options):
        self.rest = "".join(line[::2])
        return super().findFailure(line, *arguments, **options)


class Session:
    """One filter, kept across lines."""

    def __init__(self, request):
        self.now = request["now"]
        self.zone = request.get("tz")
        self.enter()
        reader = FilterReader(
            request["filter"],
            "jail",
            dict(request.get("options") or {}),  # it writes into them
            basedir=request["config"],
        )
        reader.read()
        reader.getOptions({})
        self.filter = Recording(None)
        dns = request.get("usedns", "warn")
        if dns == "raw":
            self.filter.returnRawHost = True
        else:
            self.filter.setUseDns(dns)
        self.filter.checkAllRegex = request.get("all_regex", False)
        self.filter.checkFindTime = request.get("check_findtime", True)
        self.filter.active = True
        for command in reader.convert():
            self.tell(command)
        if request.get("logtimezone"):
            self.filter.setLogTimeZone(request["logtimezone"])
        self.filter.inOperation = not request.get("catching_up", False)

    def tell(self, command):
        name, values = command[2], command[3:]
        if command[0] == "multi-set":
            values = values[0]
        for value in values:
            if name == "prefregex":
                self.filter.prefRegex = value
            elif name == "addfailregex":
                self.filter.addFailRegex(value)
            elif name == "addignoreregex":
                self.filter.addIgnoreRegex(value)
            elif name == "maxlines":
                self.filter.setMaxLines(int(value))
            elif name == "datepattern":
                self.filter.setDatePattern(value)

    def enter(self):
        """Makes this session's zone and time the process's."""
        if self.zone and os.environ.get("TZ") != self.zone:
            os.environ["TZ"] = self.zone
            time.tzset()
        if MyTime.myTime != self.now:
            MyTime.setAlternateNow(self.now)
            MyTime.setTime(self.now)
            strptime._updateTimeRE()

    def opened(self):
        return {
            "ok": True,
            "prefregex": 1 if self.filter.prefRegex else 0,
            "failregex": len(self.filter.getFailRegex()),
            "ignoreregex": len(self.filter.getIgnoreRegex()),
            "maxlines": self.filter.getMaxLines(),
        }

    def line(self, request):
        self.enter()
        stamp = request.get("journal_time")
        if stamp is None:
            found = self.filter.processLine(request["line"])
        else:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(stamp))
            found = self.filter.processLine(("", text, request["line"]), stamp)
        # fail2ban gives nothing, not an empty list, for some lines that it passes over.
        results = [result(*one) for one in found or ()]
        for one in results:
            # Without checks of time, fail2ban gives a line without a date none.
            one["time"] = self.now if one["time"] is None else one["time"]
        return {"results": results, "rest": self.filter.rest}


def result(regex, fid, when, data):
    users = data.get("users")
    groups = {
        name: list(value) if isinstance(value, (tuple, list)) else str(value)
        for name, value in data.items()
        if name not in NOT_GROUPS and value is not None
    }
    return {
        "regex": regex,
        "fid": None if fid is None else str(fid),
        "ip": str(data["ip"]) if "ip" in data else None,
        "time": when,
        "pending": fid is None,
        "nofail": bool(data.get("nofail")),
        "groups": groups,
        "users": sorted(users, key=str) if users else [],
        "matches": len(data.get("matches", ())),
    }


class Slow(Exception):
    """A line for which fail2ban needs longer than anybody can wait."""


def give_up(_signal, _frame):
    raise Slow()


def answer(sessions, request):
    operation = request["op"]
    name = request["session"]
    if operation == "open":
        session = Session(request)
        sessions[name] = session
        return {"session": name, **session.opened()}
    if operation == "line":
        signal.setitimer(signal.ITIMER_REAL, LINE_SECONDS_MAX)
        try:
            return {"id": request.get("id"), **sessions[name].line(request), "error": None}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    if operation == "close":
        del sessions[name]
        return {"session": name, "ok": True}
    raise ValueError("op: open, line or close, not %r" % operation)


def main():
    signal.signal(signal.SIGALRM, give_up)
    logging.getLogger("fail2ban").setLevel(logging.CRITICAL + 1)
    # Lines that cannot be written as UTF-8 (lone surrogates) come as \\u escapes.
    replies = sys.stdout
    sys.stdout = sys.stderr
    sessions = {}
    for text in sys.stdin:
        try:
            request = json.loads(text)
            reply = answer(sessions, request)
        except Exception as error:  # a wrong request gets an answer, too
            reply = {"ok": False, "error": "%s: %s" % (type(error).__name__, error)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
