#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - memcached with several clients
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

needs memcached python3
socket=$WORK/memcached.sock

start()
{
	"${preload[@]}" memcached -s "$socket" -u "$(id -un)" -m 256 -t 4 &
	server=$!
	PROGRAM_PIDS+=("$server")
	wait_until 20 test -S "$socket"
}

# Eight clients set, get, replace and delete what they know.
clients()
{
	python3 - "$socket" <<'END'
import hashlib, socket, sys, threading

def value(client, key, turn):
    seed = hashlib.sha256(f"{client} {key} {turn}".encode()).digest()
    return (seed * 200)[:(seed[0] + 256 * seed[1]) % 6000 + 1]

class Client(threading.Thread):
    def __init__(self, number):
        super().__init__()
        self.number = number
        self.wrong = 0

    def command(self, line, data=None):
        self.file.write(line.encode() + b"\r\n")
        if data is not None:
            self.file.write(data + b"\r\n")
        self.file.flush()

    def get(self, key):
        self.command(f"get {key}")
        head = self.file.readline().split()
        if head[0] == b"END":
            return None
        data = self.file.read(int(head[3]) + 2)[:-2]
        self.file.readline()
        return data

    def set(self, key, data):
        self.command(f"set {key} 0 0 {len(data)}", data)
        self.wrong += self.file.readline() != b"STORED\r\n"

    def run(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(sys.argv[1])
        self.file = connection.makefile("rwb")
        name = [f"{self.number}-{key}" for key in range(1000)]
        for turn in range(5):
            for key in range(1000):
                self.set(name[key], value(self.number, key, turn))
            for key in range(0, 1000, 3):
                self.command(f"delete {name[key]}")
                self.wrong += self.file.readline() != b"DELETED\r\n"
            for key in range(1000):
                expected = value(self.number, key, turn) if key % 3 else None
                self.wrong += self.get(name[key]) != expected

clients = [Client(number) for number in range(8)]
for client in clients:
    client.start()
for client in clients:
    client.join()
wrong = sum(client.wrong for client in clients)
print(f"{wrong} wrong answers")
sys.exit(wrong != 0)
END
}

stop()
{
	kill -TERM "$server"
	wait "$server"
}

plan 4
check "starts on ebbmalloc" start
check "has the library mapped" is_mapped "$server"
check "gives eight clients what they stored" clients
check "stops cleanly" stop
finish
