#!/usr/bin/python3
"""Compares a filter program with fail2ban itself on lines that nobody wrote.

    oracle_fuzz.py [--seconds N | --lines N] [--seed N] [--release DIR] -- PROGRAM ARGUMENT...

All of fail2ban's filters, with the options of its sample logs, and a few of our own with
odd features see the same lines in the same order on both sides: sample lines that were
mutated, spliced, given other dates and addresses, and sprinkled with Unicode. Everything
that is found must be equal: which pattern, id, time, groups, users, number of lines, and
what is left of the line without its date. Where we differ on purpose there is a mask with
a name below; each use is counted. The same seed gives the same lines. DIR is where
Debian's package of another release of fail2ban was unpacked, which then serves as oracle.
"""

import argparse
import collections
import ipaddress
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time

import oracle_corpus as corpus

# Lines that are sent before answers are read: few enough for a pipe's buffer.
BATCH_BYTES = 30_000

# The longest line. Longer ones only make Python's regexes slow.
LINE_CHARS_MAX = 600

# What differs from session to session.
SWITCHES = ("options", "all_regex", "usedns", "check_findtime", "gate")

# Differences shown of each kind.
SHOWN = 3

# A compact date as it was not taken until 1.1.0.
COMPACT = re.compile(r"\d{8}(?:-\d\d:?|[T ] ?\d\d(?=\d*:):?)\d\d:?\d\d")

# Filters with what stock ones use rarely or not at all. [filter, lines that they know]
OWN_FILTERS = {
    "own-connection": r"""
prefregex = ^ ?\[<F-MLFID>\w+</F-MLFID>\] <F-CONTENT>.+</F-CONTENT>$
failregex = ^failed(?: for <F-USER>\S*</F-USER>)?(?: from <HOST>)?$
            ^<F-NOFAIL>tried</F-NOFAIL>(?: for <F-USER>\S*</F-USER>)?(?: from <HOST>)?$
            ^<F-MLFFORGET>closed</F-MLFFORGET>(?: from <HOST>)?$
            ^<F-NOFAIL><F-MLFFORGET>gone</F-MLFFORGET></F-NOFAIL>(?: from <HOST>)?$
            ^<F-MLFGAINED>welcome</F-MLFGAINED>(?: for <F-USER>\S*</F-USER>)?(?: from <HOST>)?$
            ^\w+ from <HOST>$
ignoreregex = ^\w+ from 192\.0\.2\.9$
""",
    "own-base": r"""
prefregex = ^(?: <F-USER>u\w*</F-USER>)? <F-CONTENT>.+</F-CONTENT>$
failregex = ^\w+(?: for <F-USER>\S*</F-USER>)? from <HOST>$
""",
    "own-groups": r"""
prefregex = ^(?: <F-ALT_B>pb</F-ALT_B>)?(?: a=<F-A>\w*</F-A>)? <F-CONTENT>.*</F-CONTENT>$
failregex = ^<ADDR>(?: user=<F-USER>\w*</F-USER>)?(?: v=<F-ALT_USER>\w*</F-ALT_USER>)?(?: w=<F-ALT_USER_1>\w*</F-ALT_USER_1>)?(?: x=<F-TUPLE_Y>\w*</F-TUPLE_Y>)?(?: y=<F-TUPLE_Y_1>\w*</F-TUPLE_Y_1>)?(?: b=<F-B>\w*</F-B>)?(?: a=<F-A>\w*</F-A>)?$
            ^net <SUBNET>$
            ^cidr <ADDR>/<CIDR>(?: id=<F-ID>\S+</F-ID>)?$
            ^id <F-ID/>(?: by <ADDR>)?$
            ^port <IP4>:<F-PORT/>$
            ^name <DNS>$
            ^six <IP6>\b
            ^any (?:<HOST>!|nobody)$
""",
    "own-lines": r"""
maxlines = 4
failregex = ^ begin <F-USER>\w+</F-USER>$<SKIPLINES>^ end <ADDR>$
            ^ one <ADDR>$\n^ two <F-USER>\w*</F-USER>$
            ^ alone <ADDR>
            \n next <ADDR>$
            ^ c <F-MLFID>\w</F-MLFID>$<SKIPLINES>^ d (?:<ADDR>|\w+)$
ignoreregex = ignored
""",
    "own-ignored": r"""
failregex = ^ (?:a|b) <HOST>
            ^ (?:c|a) <HOST>
            ^ d <HOST>
            e <HOST>$
ignoreregex = nothing
""",
}

OWN_LINES = {
    "own-connection": [
        "[{w}] {f}",
        "[{w}] {f} from {a}",
        "[{w}] {f} for {u}",
        "[{w}] {f} for {u} from {a}",
    ],
    "own-base": ["u{u} {f} from {a}", "{f} for {u} from {a}", "u{u} {f} for {u} from {a}"],
    "own-groups": [
        "{a}",
        "pb {a} b=",
        "a=x {a} a=",
        "{a} user={u} v={u} w={u}",
        "{a} user= v=x",
        "{a} w=x x=y",
        "{a} x=y y=z b=q a=r",
        "net {a}",
        "net {a}/{n}",
        "cidr {a}/{n}",
        "cidr {a}/{n} id=x",
        "id {u}",
        "id x{u} by {a}",
        "id {a} by {a}",
        "port {a}:{n}",
        "name host.{u}",
        "six {a} x",
        "any {a}!",
        "any nobody",
        "any host!",
    ],
    "own-lines": [
        "begin {u}",
        "end {a}",
        "one {a}",
        "two {u}",
        "alone {a}",
        "alone {a} ignored",
        "next {a}",
        "begin ignored",
        "c {w}",
        "d {a}",
        "d {u}",
        "other",
    ],
    "own-ignored": ["a {a}", "b {a} nothing", "c {a} x", "d {a}", "x e {a}", "e {a} nothing"],
}

FORMS = ["failed", "tried", "closed", "gone", "welcome", "odd"]
ADDRESSES = [
    "192.0.2.1",
    "192.0.2.9",
    "198.51.100.77",
    "203.0.113.250",
    "2001:db8::1",
    "2001:DB8:0:0:1::7",
    "[2001:db8::2]",
    "::ffff:192.0.2.3",
    "::1",
    "host.example",
    "192.0.2.256",
    "192.0.2.01",
    "1:2:3",
    "fe80::1%eth0",
    "a_b.example.",
    "192.0.2.1.2",
    "2001:db8::1:5060",
    "192.0.2.4:5060",
]
DATES = [
    "Aug 14 11:59:58 ",
    "Aug 14 11:59:58.123 ",
    "Sun Aug 14 11:59:58 2005 ",
    "2005-08-14 11:59:58 ",
    "2005-08-14T11:59:58.5Z ",
    "2005-08-14T11:59:58,123+02:00 ",
    "[14/Aug/2005:11:59:58 +0200] ",
    "1124013598 ",
    "1124013598.25 ",
    "14/08/2005 11:59:58 ",
    "[08/14/2005:11:59:58] ",
    "050814 11:59:58 ",
    "20050814 115958 ",
    "20050814T115958 ",
    "Aug 14, 2005 11:59:58 AM ",
    "@4000000042ff13de00000000 ",
    "11:59:58 ",
    "Feb 29 01:02:03 ",
    "",
]
PIECES = [
    " ", "  ", "\t", "é", "ß", "ſ", "K", "İ", "ı", "١", "²", "\u00a0", "\x1c", "\x85",
    "\u2028", "\u200b", "\ufffd", "😀", "中", "\x00", "\x0b", "\r", "'", '"', "<", ">", "[",
    "]", "(", ")", "{", "}", "\\", "^", "$", ":", ";", ",", ".", "-", "_", "=", "/", "from ",
    "user ", "%", "0", "9", "A", "z",
]


class Mask:
    """A difference that is meant; used if `covers` says so."""

    def __init__(self, name, covers):
        self.name = name
        self.covers = covers
        self.used = 0


def prefix_of_all(opening, ours, theirs):
    if ours or not theirs:
        return False
    cidr = theirs["groups"].get("cidr", "")
    return cidr.isdigit() and int(cidr) == 0


def no_address(opening, ours, theirs):
    if ours or not theirs:
        return False
    groups = theirs["groups"]
    written = groups.get("ip4") or groups.get("ip6")
    return written and opening["usedns"] != "raw" and not is_address(written)


def hidden_group(opening, ours, theirs):
    """All that differs: texts that are hidden in theirs, and what follows from them."""
    if not ours or not theirs:
        return False
    mine, other = ours["groups"], theirs["groups"]
    differing = [name for name in {**mine, **other} if mine.get(name) != other.get(name)]
    return differing and all(mine.get(name) and not other.get(name) for name in differing)


def lone_colon(opening, ours, theirs):
    address = ours["groups"].get("ip6", "") if ours else ""
    return address.startswith(":") or ":::" in address


def masks():
    return [
        Mask("we: a line with the prefix /0 blames nobody", prefix_of_all),
        Mask("we: what is no address is no id, unless usedns = raw", no_address),
        Mask("until 1.1.1: no group of an IPv6 address is a colon alone", lone_colon),
        Mask("until 1.1.1: an empty group of a failregex hides the prefregex's", hidden_group),
    ]


class Pair:
    """One session on both sides."""

    def __init__(self, name, opening, lines, journal):
        self.name = name
        self.opening = opening
        self.lines = lines
        self.journal = journal


def is_address(text):
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def normal(text):
    """One text for all ways to write an address."""
    try:
        if "/" in text:
            return str(ipaddress.ip_network(text, strict=False))
        address = ipaddress.ip_address(text)
        return str(getattr(address, "ipv4_mapped", None) or address)
    except (ValueError, TypeError):
        return text


def comparable(result):
    found = dict(result)
    for key in ("fid", "ip"):
        found[key] = normal(found[key])
    if found["ip"] == found["fid"]:
        found["ip"] = None
    found["users"] = sorted(found["users"])
    return found


class Side:
    def __init__(self, command, **environment):
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
        )

    def ask(self, requests):
        text = "".join(json.dumps(request) + "\n" for request in requests)
        self.child.stdin.write(text.encode())
        self.child.stdin.flush()

    def answers(self, count):
        replies = []
        for _ in range(count):
            line = self.child.stdout.readline()
            if not line:
                sys.exit("a side ended: %s" % self.child.args)
            replies.append(json.loads(line))
        return replies


class Lines:
    """Makes lines."""

    def __init__(self, seed, pool):
        self.dice = random.Random(seed)
        self.pool = pool

    def own(self, name):
        dice = self.dice
        template = dice.choice(OWN_LINES[name])
        line = template.format(
            w=dice.choice("abcdef"),
            f=dice.choice(FORMS),
            a=dice.choice(ADDRESSES),
            u=dice.choice(["", "u", "v", "w_1", "é"]),
            n=dice.choice([0, 1, 8, 24, 32, 33, 64, 128, 129, 5060]),
        )
        date = dice.choice(DATES[:3] + [""])
        line = (date.rstrip(" ") if line.startswith("[") else date.rstrip(" ")) + " " + line
        return self.mutated(line) if dice.random() < 0.2 else line

    def of(self, pair):
        if pair.name in OWN_LINES:
            return self.own(pair.name)
        dice = self.dice
        lines = pair.lines or self.pool
        line = dice.choice(lines)
        kind = dice.random()
        if kind < 0.15:
            return line
        if kind < 0.25:
            return dice.choice(self.pool)
        if kind < 0.40:
            return self.readdressed(line)
        if kind < 0.55:
            return self.redated(line)
        if kind < 0.65:
            return self.spliced(line, dice.choice(lines if dice.random() < 0.7 else self.pool))
        return self.mutated(line)

    def readdressed(self, line):
        pattern = r"\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{1,4}::?[0-9a-fA-F:]+"
        return re.sub(pattern, lambda _: self.dice.choice(ADDRESSES), line)

    def redated(self, line):
        date = self.dice.choice(DATES)
        if self.dice.random() < 0.1:
            date = self.in_other_digits(date)
        words = line.split(" ", 3)
        return date + (words[-1] if self.dice.random() < 0.7 else line)

    def in_other_digits(self, date):
        """Some digits in another script, or a blank that is none of ASCII's."""
        other = dict(zip("0123456789 ", self.dice.choice(["٠١٢٣٤٥٦٧٨٩\u00a0", "０１２３４５６７８９\x85"])))
        few = self.dice.random()
        return "".join(other.get(c, c) if self.dice.random() < few else c for c in date)

    def spliced(self, line, other):
        first, second = self.dice.randrange(len(line) + 1), self.dice.randrange(len(other) + 1)
        return line[:first] + other[second:]

    def mutated(self, line):
        dice = self.dice
        for _ in range(dice.choice([1, 1, 1, 2, 3, 8])):
            at = dice.randrange(len(line) + 1)
            end = min(len(line), at + dice.choice([0, 1, 1, 2, 5, 20]))
            kind = dice.randrange(6)
            if kind == 0:
                line = line[:at] + line[end:]
            elif kind == 1:
                line = line[:at] + dice.choice(PIECES) + line[at:]
            elif kind == 2:
                line = line[:at] + dice.choice(PIECES) + line[end:]
            elif kind == 3:
                line = line[:end] + line[at:]
            elif kind == 4:
                line = line[:at] + line[at:end].swapcase() + line[end:]
            else:
                words = line.split(" ")
                dice.shuffle(words) if dice.random() < 0.1 else words.insert(
                    dice.randrange(len(words) + 1), dice.choice(words)
                )
                line = " ".join(words)
        return line


class Fuzz:
    def __init__(self, arguments, config, oracle):
        self.arguments = arguments
        self.config = config
        self.ours = Side(arguments.program)
        here = os.path.dirname(os.path.abspath(__file__))
        self.theirs = Side([sys.executable, os.path.join(here, "oracle_examine.py")], **oracle)
        self.pairs, pool = self.sessions()
        self.lines = Lines(arguments.seed, pool)
        self.masks = masks()
        self.crashes = Mask("fail2ban fails where it takes a word for a zone", None)
        self.compact = Mask("until 1.1.0: a compact date has no `-` and no colons", None)
        self.masks += [self.crashes, self.compact]
        self.kinds = collections.defaultdict(list)
        self.compared = 0
        self.found = 0
        self.given_up = 0
        self.history = []

    def sessions(self):
        """Every filter with each set of options that a sample log has for it."""
        logs = os.path.join(corpus.tests_folder(), "files/logs")
        names = sorted(os.listdir(os.path.join(self.config, "filter.d")))
        pairs, pool = [], []
        for name in names:
            base, extension = os.path.splitext(name)
            if extension != ".conf" or base.endswith("common"):
                continue
            if self.arguments.only and base != self.arguments.only:
                continue
            sets, lines = {"{}": {}}, []
            if os.path.exists(os.path.join(logs, base)):
                for block in corpus.blocks(logs, base):
                    lines += [case.line for case in block.cases]
                    for options in block.option_sets:
                        plain = {k: v for k, v in options.items() if not k.startswith("test.")}
                        sets[json.dumps(plain, sort_keys=True)] = plain
            pool += lines
            for options in sets.values():
                journal = options.get("logtype") == "journal"
                pairs.append(Pair(base, self.opening(base, options), lines, journal))
        return pairs, pool or ["x"]

    def opening(self, name, options):
        return {
            "op": "open",
            "config": self.config,
            "filter": name,
            "options": options,
            "now": corpus.NOW,
            "tz": corpus.ZONE,
            "check_findtime": False,
            "usedns": "raw",
            "all_regex": True,
        }

    def run(self):
        """Rounds of all sessions, each opened anew with other switches."""
        dice = self.lines.dice
        end = time.monotonic() + self.arguments.seconds
        last = self.arguments.lines
        while True:
            dice.shuffle(self.pairs)
            for pair in self.pairs:
                opening = dict(pair.opening, session=pair.name)
                opening["all_regex"] = dice.random() < 0.7
                opening["usedns"] = "raw" if dice.random() < 0.8 else "no"
                opening["check_findtime"] = dice.random() < 0.2
                gate = dice.random() < 0.5
                self.session(pair, opening, gate, dice.choice([20, 50, 200]))
                if last and self.compared >= last or not last and time.monotonic() > end:
                    return

    def session(self, pair, opening, gate, count):
        lines = [self.lines.of(pair)[:LINE_CHARS_MAX].replace("\n", " ").rstrip("\r") for _ in range(count)]
        stamp = corpus.NOW if pair.journal else None
        requests = [opening]
        for number, line in enumerate(lines):
            requests.append(
                dict(op="line", session=pair.name, id=number, line=line, journal_time=stamp)
            )
        requests.append(dict(op="close", session=pair.name))
        ours, theirs = [], []
        while requests:
            size, some = 0, 0
            while some < len(requests) and size < BATCH_BYTES:
                size += 3 * len(str(requests[some]))
                some += 1
            batch, requests = requests[:some], requests[some:]
            self.theirs.ask(batch)
            if batch[0]["op"] == "open":
                opening = batch[0] = dict(batch[0], gate=gate)
            self.ours.ask(batch)
            ours += self.ours.answers(some)
            theirs += self.theirs.answers(some)
        self.compare_opened(pair, opening, ours[0], theirs[0])
        for number, line in enumerate(lines):
            self.compared += 1
            self.found += bool(theirs[number + 1].get("results"))
            self.history = lines[:number]
            if not self.compare(pair, opening, gate, line, ours[number + 1], theirs[number + 1]):
                # What they remember differs now; what follows says nothing.
                return

    def compare_opened(self, pair, opening, ours, theirs):
        keys = ("ok", "prefregex", "failregex", "ignoreregex", "maxlines")
        if [ours.get(key) for key in keys] != [theirs.get(key) for key in keys]:
            self.note("open", pair, opening, "", ours, theirs)

    def compare(self, pair, opening, gate, line, ours, theirs):
        if ours.get("error") or theirs.get("error"):
            if "too many steps" in str(ours.get("error")) or "Slow" in str(theirs.get("error")):
                self.given_up += 1
                return False
            if "KeyError" in str(theirs.get("error")):
                self.crashes.used += 1
                return False
            self.note("error", pair, opening, line, ours, theirs)
            return False
        if not pair.journal and ours["rest"] is not None and ours["rest"] != theirs["rest"]:
            compact = COMPACT.search(line)
            if compact and compact.group() not in ours["rest"]:
                self.compact.used += 1
                return False
            self.note("rest", pair, opening, line, ours["rest"], theirs["rest"])
            return False
        mine = [comparable(result) for result in ours["results"]]
        other = [comparable(result) for result in theirs["results"]]
        if mine == other:
            return True
        for left, right in self.aligned(mine, other):
            if left == right:
                continue
            mask = next((m for m in self.masks if m.covers and m.covers(opening, left, right)), None)
            if mask:
                mask.used += 1
                continue
            self.note(kind_of(left, right), pair, opening, line, left, right)
            break
        return False

    def aligned(self, mine, other):
        forms = sorted({one["regex"] for one in mine} | {one["regex"] for one in other})
        for form in forms:
            left = [one for one in mine if one["regex"] == form]
            right = [one for one in other if one["regex"] == form]
            yield (left[0] if left else None), (right[0] if right else None)

    def note(self, kind, pair, opening, line, ours, theirs):
        history = self.history if self.arguments.history else []
        self.kinds[kind].append((pair.name, opening, line, ours, theirs, history))

    def report(self):
        for kind, examples in sorted(self.kinds.items()):
            print("%s: %d" % (kind, len(examples)))
            for name, opening, line, ours, theirs, history in examples[:SHOWN]:
                switches = {k: opening[k] for k in SWITCHES}
                print("  %s %s" % (name, json.dumps(switches)))
                for before in history:
                    print("    before %r" % before)
                print("    line   %r" % line)
                print("    ours   %s" % json.dumps(ours, ensure_ascii=False, sort_keys=True))
                print("    theirs %s" % json.dumps(theirs, ensure_ascii=False, sort_keys=True))
        for mask in self.masks:
            print("mask, used %d times: %s" % (mask.used, mask.name))
        names = {pair.name for pair in self.pairs}
        print(
            "%d lines over %d filters and %d of our own compared, %d matched, "
            "%d masked, %d too slow for one side, %d differences"
            % (
                self.compared,
                len(names - set(OWN_FILTERS)),
                len(names & set(OWN_FILTERS)),
                self.found,
                sum(mask.used for mask in self.masks),
                self.given_up,
                sum(map(len, self.kinds.values())),
            )
        )
        return not self.kinds and self.found > 0


def kind_of(ours, theirs):
    if ours is None:
        return "only fail2ban matches"
    if theirs is None:
        return "only we match"
    keys = [key for key in theirs if ours.get(key) != theirs[key]]
    if keys == ["groups"]:
        names = set(ours["groups"]) | set(theirs["groups"])
        differing = [n for n in names if ours["groups"].get(n) != theirs["groups"].get(n)]
        return "groups: " + ", ".join(sorted(differing))
    return "differs: " + ", ".join(sorted(keys))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--lines", type=int, help="so many lines instead")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--release", metavar="DIR", help="an unpacked package of fail2ban")
    parser.add_argument("--only", help="this filter only")
    parser.add_argument("--history", action="store_true", help="show the lines before, too")
    parser.add_argument("program", nargs="+")
    arguments = parser.parse_args()
    oracle = {}
    if arguments.release:
        oracle["PYTHONPATH"] = corpus.take_release(arguments.release)
    with tempfile.TemporaryDirectory() as folder:
        config = corpus.tree(folder)
        for name, text in OWN_FILTERS.items():
            with open(os.path.join(config, "filter.d", name + ".conf"), "w") as file:
                file.write("[Definition]" + text)
        fuzz = Fuzz(arguments, config, oracle)
        fuzz.run()
        good = fuzz.report()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
