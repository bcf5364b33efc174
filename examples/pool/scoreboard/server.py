#!/usr/bin/env python3
"""A worker of a pool that writes on its scoreboard: HTTP, one connection at a time, at the socket that doula opened."""
import os, select, signal, socket, struct

board = int(os.environ.get("DOULA_SCOREBOARD") or os.open("/dev/null", os.O_WRONLY))
listener = socket.socket(fileno=3)
listener.setblocking(False)
answered, ending = 0, []
wake, waker = socket.socketpair()
waker.setblocking(False)
signal.set_wakeup_fd(waker.fileno())
signal.signal(signal.SIGTERM, lambda *_: ending.append(True))


def write(busy):
    os.pwrite(board, struct.pack("=I4xQ", 2 if busy else 1, answered), 0)


write(False)
while not ending:
    select.select([listener, wake], [], [])
    try:
        client, _ = listener.accept()
    except BlockingIOError:
        continue  # another worker has it
    write(True)
    with client:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nhello\n")
    answered += 1
    write(False)
