#!/usr/bin/env python3
"""A worker of a pool: HTTP, one connection at a time, on the sockets that doula opened (LISTEN_FDS).

`worker.py [SECONDS]`: each answer takes so long. On SIGTERM it takes no new connection, answers the request in its hands
(with `Connection: close`), and ends. What doula is told by NOTIFY_SOCKET is optional: whether it has work, and how many
requests it has answered.
"""
import os, select, signal, socket, sys, time

HANDLER = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
IDLE = 5.0  # a kept connection that asks nothing for so long is closed
ending = False


def notify(text):
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(text.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


def end(*_):
    global ending
    ending = True


def serve(client):
    """Answers until the client goes, or asks for nothing more; how many requests it were."""
    answered, kept = 0, b""
    client.settimeout(IDLE)
    while True:
        while b"\r\n\r\n" not in kept:
            piece = client.recv(65536)
            if not piece:
                return answered
            kept += piece
        head, kept = kept.split(b"\r\n\r\n", 1)
        time.sleep(HANDLER)
        close = ending or b"connection: close" in head.lower() or b" HTTP/1.0" in head
        body = f"slot {os.environ.get('DOULA_SLOT')}, pid {os.getpid()}\n".encode()
        word = b"close" if close else b"keep-alive"
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s" % (len(body), word, body))
        answered += 1
        if close:
            return answered


def main():
    given = int(os.environ.get("LISTEN_FDS", "0"))
    listeners = {fd: socket.socket(fileno=fd) for fd in range(3, 3 + given)}
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGTERM, end)
    epoll = select.epoll()
    epoll.register(wake, select.EPOLLIN)
    for fd, listener in listeners.items():
        listener.setblocking(False)
        epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    notify("READY=1\nX_DOULA_BUSY=0")
    answered = 0
    while not ending:
        for fd, _ in epoll.poll():
            try:
                client, _ = listeners[fd].accept()
            except (KeyError, BlockingIOError):
                continue
            with client:
                notify("X_DOULA_BUSY=1")
                try:
                    answered += serve(client)
                except OSError:
                    pass  # the client is gone
                notify(f"X_DOULA_BUSY=0\nX_DOULA_TASKS={answered}")


main()
