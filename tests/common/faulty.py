#!/usr/bin/python3
"""A mount that shows the files of a folder and can be told to fail: `faulty.py FOLDER MOUNT`.

Every read fails with EIO as long as there is a file `broken` in the folder. As on a network
mount, the kernel does not tell of what is written to the folder behind its back."""

import errno
import os
import sys

import fuse

fuse.fuse_python_api = (0, 2)
folder = sys.argv[1]


class Faulty(fuse.Fuse):
    def getattr(self, path):
        try:
            return os.lstat(folder + path)
        except OSError as error:
            return -error.errno

    def readdir(self, path, offset):
        for name in [".", ".."] + os.listdir(folder + path):
            yield fuse.Direntry(name)

    def open(self, path, flags):
        return 0 if os.path.exists(folder + path) else -errno.ENOENT

    def read(self, path, size, offset):
        if os.path.exists(folder + "/broken"):
            return -errno.EIO
        with open(folder + path, "rb") as file:
            file.seek(offset)
            return file.read(size)


options = "direct_io,attr_timeout=0,entry_timeout=0,use_ino,ac_attr_timeout=0"
server = Faulty(dash_s_do="setsingle")
server.parse(["-f", "-s", "-o", options, sys.argv[2]])
server.main()
