#!/usr/bin/python3
"""Judges a filter program by the sample logs of the installed fail2ban.

    oracle_corpus.py [--release DIR] [--only FILTER] [--no-gate] -- PROGRAM ARGUMENT...

The program speaks the protocol of `ringfence examine`. The samples say for each line
whether it must match and what must be found in it; they, and the filters, are read where
fail2ban is installed, or in DIR where Debian's package of another release was unpacked
(`dpkg-deb -x`), or in the folders named by FAIL2BAN_CONFIG and FAIL2BAN_TESTS.
No filter, line or case is treated in a way of its own. Exits with 0 if all is as it must be.
"""

import argparse
import datetime
import fileinput
import glob
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ZONE = "CET-01CEST-02,M3.5.0,M10.5.0"
# 2005-08-14 12:00 in that zone: the day on which the samples are read.
NOW = 1124013600

# `# failJSON: {…}` and its like.
NOTE = re.compile(r"^#+ ?(failJSON|(?:file|filter)Options|addFILE)\s*:\s(.*)$")

# What is said of a case and not of the failure that is found.
OF_THE_CASE = {"match", "desc", "constraint", "time"}


def take_release(folder):
    """From now on, filters and samples are those of the package unpacked in `folder`."""
    python = os.path.join(os.path.abspath(folder), "usr/lib/python3/dist-packages")
    os.environ["FAIL2BAN_CONFIG"] = os.path.join(os.path.abspath(folder), "etc/fail2ban")
    os.environ["FAIL2BAN_TESTS"] = os.path.join(python, "fail2ban/tests")
    return python


def tests_folder():
    told = os.environ.get("FAIL2BAN_TESTS")
    if told:
        return told
    import fail2ban.tests

    return os.path.dirname(fail2ban.tests.__file__)


def tree(folder):
    """A tree with fail2ban's filters and those that its tests add.

    The latter include files of fail2ban's source tree by a long way up; here these stand
    beside them.
    """
    stock = os.environ.get("FAIL2BAN_CONFIG", "/etc/fail2ban")
    target = os.path.join(folder, "filter.d")
    shutil.copytree(os.path.join(stock, "filter.d"), target)
    for path in glob.glob(os.path.join(tests_folder(), "config/filter.d/zzz-*.conf")):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        text = re.sub(r"(?m)^(before|after)\s*=\s*(?:\.\./)+config/filter\.d/", r"\1 = ", text)
        with open(os.path.join(target, os.path.basename(path)), "w", encoding="utf-8") as file:
            file.write(text)
    return folder


class Program:
    """The program that is judged."""

    def __init__(self, command):
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def ask(self, **request):
        self.child.stdin.write(json.dumps(request) + "\n")
        self.child.stdin.flush()
        reply = self.child.stdout.readline()
        if not reply:
            sys.exit("the program ended without an answer to %r" % (request,))
        return json.loads(reply)

    def end(self):
        self.child.stdin.close()
        return self.child.wait()


class Case:
    """One line of a log and what must be found in it."""

    def __init__(self, path, number, line, expected):
        self.where = "%s:%d" % (path, number)
        self.line = line
        self.expected = expected
        # A line without a note must not match either, but is not counted as a case.
        self.noted = expected is not None
        self.runs = 0
        self.wrong = []

    def constrained(self, name, options):
        said = self.expected and self.expected.get("constraint")
        return said and not eval(said, {"name": name, "opts": options})


class Block:
    """Lines that are read with the same options."""

    def __init__(self, name, options, common):
        self.name = name
        sets = options if isinstance(options, list) else [options]
        self.option_sets = [{**common, **one} for one in sets]
        self.cases = []


def blocks(folder, name):
    """The blocks of a log file, and of those that it names, in their order."""
    queue, found, common, current = [name], [], {}, None
    seen = {name}
    while queue:
        log = queue.pop(0)
        path = os.path.join(folder, log)
        current = Block(log, {}, common)
        found.append(current)
        expected, numbered = None, 0
        for line in fileinput.FileInput(files=(path,), mode="rb"):
            numbered += 1
            line = line.rstrip(b"\r\n").decode("utf-8")
            note = NOTE.match(line)
            if note:
                kind, value = note.group(1), json.loads(note.group(2))
                if kind == "addFILE":
                    if value not in seen:
                        queue.append(value)
                elif kind == "fileOptions":
                    common = value  # for the next filterOptions
                elif kind == "filterOptions":
                    current = Block(log, value, common)
                    found.append(current)
                else:
                    expected = value
                continue
            if line.startswith("#") or not line.strip():
                continue
            current.cases.append(Case(path, numbered, line, expected))
            expected = None
    return found


def local_time(text):
    form = "%Y-%m-%dT%H:%M:%S.%f" if "." in text else "%Y-%m-%dT%H:%M:%S"
    date = datetime.datetime.strptime(text, form)
    return time.mktime(date.timetuple()) + date.microsecond / 1e6


def comparable(value):
    return sorted(value, key=str) if isinstance(value, (list, tuple, set)) else value


def address(text):
    """Two ways to write one address are equal."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return text


def found_for(key, result):
    groups = result["groups"]
    if key == "users":
        return result["users"]
    value = groups.get(key)
    if value is None and key == "host":
        return address(result["fid"])
    if value is None and key == "attempts":
        return result["matches"]
    return value


def judge(expected, reply):
    """What is wrong with a reply; nothing if it is right."""
    if reply.get("error") or "results" not in reply:
        return ["error: %s" % reply.get("error")]
    real = [one for one in reply["results"] if not one["pending"] and not one["nofail"]]
    must = bool(expected and expected["match"])
    if not real:
        return ["no match"] if must else []
    if not must:
        return ["matched by failregex %s: %s" % (one["regex"], one["fid"]) for one in real]
    if len(real) > 1:
        return ["matched more than once: %s" % [one["regex"] for one in real]]
    wrong = []
    for key, value in expected.items():
        if key in OF_THE_CASE:
            continue
        found = found_for(key, real[0])
        if key == "host":
            value = address(value)
        if comparable(found) != comparable(value):
            wrong.append("%s is %r, must be %r" % (key, found, value))
    if expected.get("time") is not None:
        must_be = local_time(expected["time"])
        if real[0]["time"] != must_be:
            wrong.append("time is %r, must be %r" % (float(real[0]["time"]), must_be))
    return wrong


class Judge:
    def __init__(self, arguments, config):
        self.arguments = arguments
        self.config = config
        self.program = Program(arguments.program)
        self.logs = os.path.join(tests_folder(), "files/logs")
        self.cases = []
        logs = os.scandir(self.logs)
        self.unread = {entry.name for entry in logs if entry.is_file()}
        self.unhit = []

    def filters(self):
        for name in sorted(os.listdir(os.path.join(self.config, "filter.d"))):
            base, extension = os.path.splitext(name)
            if extension == ".conf" and not base.endswith("common"):
                yield base

    def run(self):
        for name in self.filters():
            if self.arguments.only and name != self.arguments.only:
                continue
            self.one_filter(name)

    def one_filter(self, name):
        path = os.path.join(self.logs, name)
        if not os.path.exists(path):
            self.unread.add("(no samples for %s)" % name)
            return
        sessions = {}
        parts = blocks(self.logs, name)
        for block in parts:
            self.cases += block.cases
            for options in block.option_sets:
                self.one_block(name, block, options, sessions)
        for block in parts:
            self.unread.discard(block.name)
        for session, hit in sessions.values():
            self.program.ask(op="close", session=session)

    def one_block(self, name, block, options, sessions):
        condition = options.get("test.condition")
        if condition and not eval(condition, {"name": name, "sys": sys}):
            return
        filter_name = options.get("test.filter-name", name)
        for_filter = {key: value for key, value in options.items() if not key.startswith("test.")}
        journal = options.get("logtype") == "journal"
        key = filter_name + json.dumps(for_filter, sort_keys=True)
        if key not in sessions:
            reply = self.program.ask(
                op="open",
                session=key,
                config=self.config,
                filter=filter_name,
                options=for_filter,
                now=NOW,
                tz=ZONE,
                check_findtime=False,
                usedns="raw",
                all_regex=True,
                gate=not self.arguments.no_gate,
            )
            if not reply.get("ok"):
                for case in block.cases:
                    case.wrong.append((for_filter, ["open: %s" % reply.get("error")]))
                return
            sessions[key] = key, set(range(reply["failregex"]))
        session, unhit = sessions[key]
        for case in block.cases:
            if case.constrained(name, options):
                continue
            line = case.line
            if journal:
                line = options.get("test.prefix-line", "") + line
            reply = self.program.ask(
                op="line",
                session=session,
                id=case.where,
                line=line,
                journal_time=NOW if journal else None,
            )
            case.runs += 1
            wrong = judge(case.expected, reply)
            if wrong:
                case.wrong.append((for_filter, wrong))
            for one in reply.get("results", ()):
                unhit.discard(one["regex"])

    def report(self):
        failing = [case for case in self.cases if case.wrong]
        last = None
        for case in failing:
            path, _, number = case.where.rpartition(":")
            if path != last:
                print(os.path.basename(path))
                last = path
            for options, wrong in case.wrong[:2]:
                print("  line %s %s: %s" % (number, options or "", "; ".join(wrong)))
                if self.arguments.show:
                    print("    " + case.line)
        for name in sorted(self.unread):
            if not self.arguments.only:
                print("not read: " + name)
        noted = {case.where: case for case in self.cases if case.noted}
        wrong = {case.where for case in failing if case.noted}
        plain = {case.where for case in self.cases if not case.noted}
        print(
            "%d of %d cases pass, in %d runs; %d of %d other lines match as they must not"
            % (
                len(noted) - len(wrong),
                len(noted),
                sum(case.runs for case in self.cases),
                len({case.where for case in failing if not case.noted}),
                len(plain),
            )
        )
        return not failing and bool(noted)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--release", metavar="DIR", help="an unpacked package of fail2ban")
    parser.add_argument("--only", help="this filter only")
    parser.add_argument("--no-gate", action="store_true", help="look at every line exactly")
    parser.add_argument("--show", action="store_true", help="print the failing lines, too")
    parser.add_argument("program", nargs="+")
    arguments = parser.parse_args()
    if arguments.release:
        take_release(arguments.release)
    os.environ["TZ"] = ZONE
    time.tzset()
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(arguments, tree(folder))
        judge.run()
        ended = judge.program.end()
        good = judge.report() and ended == 0
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
