#!/usr/bin/python3
"""Compares our command stream with that of an unpacked release of fail2ban.

    streams.py UNPACKED PROGRAM

UNPACKED is where Debian's package of that release was unpacked: its own configuration is
read by both, as shipped and with every jail enabled, and `fail2ban-client -d` and `PROGRAM
check --fail2ban DIR -d` must print the same, but for what `docs/fail2ban-differences.md`
names. Exit code 2: its code does not run with this Python.
"""

import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# fail2ban gives the files of one pattern as the folder has them, we sort them.
LOG_FILE = ", 'addlogpath', "

# The release that we speak as.
VERSION = "1.1.1"

# Until 1.0.2 a variant stayed as it was where the jail gave the option (gh-4069).
GIVEN = "['blocktype', 'RETURN']"
VARIANT = ", ['blocktype?family=inet6', 'REJECT --reject-with icmp6-port-unreachable']"


def sorted_log_files(lines):
    """Sorts neighbouring commands that add a log."""
    out, run = [], []
    for line in [*lines, ""]:
        if LOG_FILE in line:
            run.append(line)
        else:
            out += [*sorted(run), line]
            run = []
    return out


def theirs(unpacked, tree):
    """The stream of that fail2ban, and its version."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(unpacked / "usr/lib/python3/dist-packages"),
        "PYTHONIOENCODING": "utf-8",
    }
    client = [sys.executable, str(unpacked / "usr/bin/fail2ban-client")]

    def ask(*words):
        return subprocess.run(
            [*client, *words], env=environment, capture_output=True, text=True, check=False
        )

    version = ask("-V")
    if version.returncode:
        print(version.stderr.strip().splitlines()[-1:], file=sys.stderr)
        sys.exit(2)
    return ask("-c", str(tree), "-d").stdout, version.stdout.strip()


def ours(program, tree):
    """Our stream."""
    done = subprocess.run(
        [program, "check", "--fail2ban", str(tree), "-d"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def compare(unpacked, program, tree, what):
    """Is the stream of this tree the same?"""
    stream, version = theirs(unpacked, tree)
    stream = stream.replace(version, VERSION).splitlines()
    for place, line in enumerate(stream):
        if GIVEN in line:
            stream[place] = line.replace(VARIANT, "").replace("<blocktype>", "RETURN")
    stream, own = sorted_log_files(stream), sorted_log_files(ours(program, tree).splitlines())
    pairs = itertools.zip_longest(own, stream)
    differing = [pair for pair in pairs if pair[0] != pair[1]]
    print(f"fail2ban {version}, {what}: {len(stream) - 1} commands, {len(differing)} differ")
    for one, other in differing[:3]:
        print(f"  ours:   {one}\n  theirs: {other}")
    return not differing and len(stream) > 2


def main():
    unpacked, program = pathlib.Path(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / "fail2ban"
        shutil.copytree(unpacked / "etc/fail2ban", tree)
        same = compare(unpacked, program, tree, "as shipped")
        jails = re.findall(r"^\[([^]]+)\]", (tree / "jail.conf").read_text(), re.M)
        jails = [name for name in jails if name not in ("DEFAULT", "INCLUDES")]
        enabled = "".join(f"[{name}]\nenabled = true\n" for name in jails)
        (tree / "jail.d/zz.local").write_text(enabled)
        same &= compare(unpacked, program, tree, f"all {len(jails)} jails enabled")
    sys.exit(0 if same else 1)


main()
