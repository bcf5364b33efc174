#!/usr/bin/env python3
"""A worker by frames: doula run --workers frames --window 16 examples/workers/frames.py ::: 3 four 5

It gets bytes and answers bytes; what is large comes and goes as a file in memory, which is mapped and not copied.
"""
import mmap
import os
import socket
import struct

HELLO, TASK, DONE, FAILED, TASKS, DONE_MANY = 1, 2, 3, 4, 5, 6
HEAD = struct.Struct("<IBBHQ")      # the length of the payload, the kind, 1 if it is in a file, 0, the number of the task
line = socket.socket(fileno=int(os.environ["DOULA_FRAMES"]))
files = []


def take(length):
    """So many bytes; those of files that come along are kept. An empty piece is the end."""
    pieces = b""
    while len(pieces) < length:
        piece, fds, _, _ = socket.recv_fds(line, length - len(pieces), 64)
        files.extend(fds)
        if not piece:
            raise SystemExit
        pieces += piece
    return pieces


def tasks():
    """The number and the input of each task."""
    while True:
        length, kind, in_file, _, number = HEAD.unpack(take(HEAD.size))
        payload = take(length)
        if in_file:
            file = files.pop(0)
            payload = mmap.mmap(file, struct.unpack("<Q", payload)[0], prot=mmap.PROT_READ)
            os.close(file)
        if kind == TASK:
            yield number, payload
        elif kind == TASKS:
            at = 0
            while at < len(payload):
                size, = struct.unpack_from("<I", payload, at)
                yield number, payload[at + 4:at + 4 + size]
                at, number = at + 4 + size, number + 1


def square(text):
    return str(int(bytes(text)) ** 2).encode() + b"\n"


line.sendall(HEAD.pack(0, HELLO, 0, 0, 1))
for number, text in tasks():
    try:
        kind, answer = DONE, square(text)
    except ValueError as error:
        kind, answer = FAILED, str(error).encode()
    line.sendall(HEAD.pack(len(answer), kind, 0, 0, number) + answer)
