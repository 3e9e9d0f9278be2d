#!/usr/bin/python3
"""Runs a program of the installed fail2ban for a test, many times: `runs_fail2ban.py MODULE`.

Half of its time goes into loading its modules. Its main one is loaded once, here, and each run
is a fork of this process that runs the program's file, as if it had been started: with its
arguments and its folder, and nothing on its standard input.

A request is a line of JSON: the folder, the program's path, and its arguments. The answer is
a line with the exit code and the lengths of what it wrote to its two outputs, and then both.
"""

import gc
import importlib
import json
import os
import runpy
import sys


def become(folder, program, arguments, outputs):
    for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *outputs]):
        os.dup2(file, number)
    os.chdir(folder)
    sys.argv = [program, *arguments]
    code = 0
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            raise
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)  # to take down all that was loaded takes longer than the rest


def whole(file):
    with open(file, "rb") as opened:
        opened.seek(0)
        return opened.read()


def main():
    importlib.import_module(sys.argv[1])
    gc.freeze()  # else each fork's collector looks at all of it, and so copies it
    while request := sys.stdin.buffer.readline():
        folder, program, *arguments = json.loads(request)
        outputs = [os.memfd_create("stdout"), os.memfd_create("stderr")]
        child = os.fork()
        if child == 0:
            return become(folder, program, arguments, outputs)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = [whole(file) for file in outputs]
        sys.stdout.buffer.write(b"%d %d %d\n" % (code, *map(len, said)) + b"".join(said))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
