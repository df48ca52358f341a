#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""ebbmalloc tests - Requests to samples/httpd, and whether the answers are right

http_load.py PORT REQUESTS CONNECTIONS: so many requests over so many
connections at a time; http_load.py PORT PATH: prints what is there.  Requests
come whole, in pieces and several at once; some connections end with each
answer.  The exit status is 0 if every answer was right.
"""
import random
import socket
import sys
import threading

wrong = []


class Client:
    def __init__(self, port):
        self.port = port
        self.socket = None
        self.rest = b""

    def connect(self):
        if not self.socket:
            self.socket = socket.create_connection(("127.0.0.1", self.port),
                                                   timeout=60)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.rest = b""

    def close(self):
        self.socket.close()
        self.socket = None

    def more(self):
        got = self.socket.recv(65536)
        if not got:
            raise EOFError("the connection ended")
        self.rest += got

    def answer(self):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        length = int(fields["Content-Length"])
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return lines[0], fields["Connection"], body.decode()


def draw(rng):
    """(request, status, body)"""
    headers = [("X-%d" % i, "v" * rng.randrange(200))
               for i in range(rng.randrange(12))]
    path = rng.choice(["/", "/headers", "/no/%d" % rng.randrange(10 ** 9)])
    text = "GET %s HTTP/1.1\r\n%s\r\n" % (
        path, "".join("%s: %s\r\n" % h for h in headers))
    if path == "/":
        return text, "200 OK", "hello\n"
    if path == "/headers":
        return text, "200 OK", "".join("%s: %s\n" % h for h in headers)
    return text, "404 Not Found", path + " is not here\n"


def send(client, text, rng):
    data = text.encode()
    if rng.random() < 0.2:
        at = rng.randrange(1, len(data))
        client.socket.sendall(data[:at])
        data = data[at:]
    client.socket.sendall(data)


def ask(client, rng, number):
    """@number requests at once, all answers; returns how many."""
    drawn = [draw(rng) for _ in range(number)]
    client.connect()
    last = rng.random() < 0.05
    texts = [text for text, _, _ in drawn]
    if last:
        texts[-1] = texts[-1].replace("\r\n", "\r\nConnection: close\r\n", 1)
    send(client, "".join(texts), rng)
    for i, (_, status, body) in enumerate(drawn):
        if last and i == number - 1 and status == "200 OK" and \
                body != "hello\n":
            body = "Connection: close\n" + body
        want = ("HTTP/1.1 " + status,
                "close" if last and i == number - 1 else "keep-alive", body)
        got = client.answer()
        if got != want:
            wrong.append("%r, but not %r" % (got, want))
    if last:
        client.close()
    return number


def load(port, requests, seed):
    rng = random.Random(seed)
    client = Client(port)
    try:
        while requests > 0:
            # Three of the longest fit the server's buffer.
            requests -= ask(client, rng, min(requests, rng.choice([1, 1, 2])))
    except (OSError, EOFError) as error:
        wrong.append(str(error))


def show(port, path):
    client = Client(port)
    client.connect()
    client.socket.sendall(b"GET %s HTTP/1.1\r\n\r\n" % path.encode())
    print(client.answer()[2], end="")


def main():
    port = int(sys.argv[1])
    if sys.argv[2].startswith("/"):
        show(port, sys.argv[2])
        return
    requests, connections = int(sys.argv[2]), int(sys.argv[3])
    threads = [threading.Thread(target=load, args=(
        port, requests // connections, seed)) for seed in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(wrong[:5]))
    sys.exit(bool(wrong))


main()
