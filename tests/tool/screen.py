# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - A program on a pseudo-terminal, and what is on its screen
#
# Knows the sequences of vt100, and of xterm what curses uses of it; anything
# else is an error, so that a screen is never taken for right by accident.

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

SEQUENCE = re.compile(r"\x1b(?:\[([?>]?)([\d;]*)([@A-Za-z`])"
                      r"|([()])([0AB])|([78=>MDE])|\](?:[^\x07]*)\x07)")


class Screen:
    def __init__(self, rows, columns):
        self.resize(rows, columns)

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.lines = [[" "] * columns for _ in range(rows)]
        self.y = self.x = 0
        self.top, self.bottom = 0, rows - 1
        self.pending = ""
        self.saved = (0, 0)
        self.wrapped = 0        # lines that were longer than the screen

    def scroll(self, by):
        region = self.lines[self.top:self.bottom + 1]
        blank = [[" "] * self.columns for _ in range(abs(by))]
        region = (region + blank)[by:] if by > 0 else \
            (blank + region)[:len(region)]
        self.lines[self.top:self.bottom + 1] = region[:self.bottom + 1 -
                                                      self.top]

    def line_feed(self):
        if self.y == self.bottom:
            self.scroll(1)
        elif self.y < self.rows - 1:
            self.y += 1

    def put(self, char):
        if self.x == self.columns:
            self.x = 0
            self.wrapped += 1
            self.line_feed()
        self.lines[self.y][self.x] = char
        self.last = char
        self.x += 1

    def erase(self, mode, all_lines):
        line = self.lines[self.y]
        first = self.x if mode == 0 else 0
        last = min(self.x + 1, self.columns) if mode == 1 else self.columns
        line[first:last] = [" "] * (last - first)
        if all_lines:
            for y in range(self.y + 1 if mode == 0 else 0,
                           self.y if mode == 1 else self.rows):
                self.lines[y] = [" "] * self.columns

    def control(self, final, numbers):
        n = numbers[0] if numbers else 0
        one = max(n, 1)
        line = self.lines[self.y]
        if final in "Hf":
            self.y = min(one, self.rows) - 1
            self.x = min(max(numbers[1] if len(numbers) > 1 else 1, 1),
                         self.columns) - 1
        elif final == "A":
            self.y = max(self.y - one, 0)
        elif final == "B":
            self.y = min(self.y + one, self.rows - 1)
        elif final == "C":
            self.x = min(self.x + one, self.columns - 1)
        elif final == "D":
            self.x = max(min(self.x, self.columns - 1) - one, 0)
        elif final in "G`":
            self.x = min(one, self.columns) - 1
        elif final == "d":
            self.y = min(one, self.rows) - 1
        elif final in "JK":
            self.erase(n, final == "J")
        elif final == "X":
            line[self.x:self.x + one] = [" "] * len(line[self.x:self.x + one])
        elif final == "P":
            del line[self.x:self.x + one]
            line += [" "] * (self.columns - len(line))
        elif final == "@":
            line[self.x:self.x] = [" "] * one
            del line[self.columns:]
        elif final in "LM":
            top, self.top = self.top, self.y
            self.scroll(-one if final == "L" else one)
            self.top = top
        elif final in "ST":
            self.scroll(one if final == "S" else -one)
        elif final == "b":
            for _ in range(one):
                self.put(self.last)
        elif final == "r":
            self.top = one - 1
            self.bottom = (numbers[1] if len(numbers) > 1 else self.rows) - 1
            self.y = self.x = 0
        elif final not in "mhlt":
            raise ValueError(f"unknown sequence ESC [ {numbers} {final}")

    def escape(self, match):
        private, numbers, final, _, _, single = match.group(1, 2, 3, 4, 5, 6)
        if final and not private:
            self.control(final, [int(n or 0) for n in numbers.split(";")]
                         if numbers else [])
        elif single == "M":
            if self.y == self.top:
                self.scroll(-1)
            else:
                self.y -= 1
        elif single == "D":
            self.line_feed()
        elif single == "7":
            self.saved = (self.y, self.x)
        elif single == "8":
            self.y, self.x = self.saved

    def feed(self, text):
        text = self.pending + text
        self.pending = ""
        at = 0
        while at < len(text):
            char = text[at]
            if char == "\x1b":
                match = SEQUENCE.match(text, at)
                if not match:
                    if len(text) - at > 40:
                        raise ValueError(f"unknown: {text[at:at + 40]!r}")
                    self.pending = text[at:]
                    return
                self.escape(match)
                at = match.end()
                continue
            if char == "\r":
                self.x = 0
            elif char == "\n":
                self.line_feed()
            elif char == "\b":
                self.x = max(min(self.x, self.columns - 1) - 1, 0)
            elif char == "\t":
                self.x = min((self.x // 8 + 1) * 8, self.columns - 1)
            elif char not in "\x07\x0e\x0f\0":
                self.put(char)
            at += 1

    def text(self):
        return ["".join(line).rstrip() for line in self.lines]


class Terminal:
    """A program whose terminal is ours."""

    def __init__(self, command, rows=24, columns=80, term="vt100"):
        self.screen = Screen(rows, columns)
        self.raw = ""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.environ["TERM"] = term
            os.environ["LC_ALL"] = "C.UTF-8"
            os.environ.pop("LINES", None)
            os.environ.pop("COLUMNS", None)
            # Whoever started us may be before the size is set.
            os.kill(os.getpid(), signal.SIGSTOP)
            os.execvp(command[0], command)
        os.waitpid(self.pid, os.WUNTRACED)
        self.set_size(rows, columns)
        os.kill(self.pid, signal.SIGCONT)
        self.status = None

    def set_size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ,
                    struct.pack("4H", rows, columns, 0, 0))

    def resize(self, rows, columns):
        self.screen.resize(rows, columns)
        self.set_size(rows, columns)

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def read(self, seconds):
        """Once; False at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        text = data.decode("utf-8", "replace")
        self.raw += text
        self.screen.feed(text)
        return bool(data)

    def wait_for(self, condition, seconds=30):
        """Until condition(lines) holds of a frame that is complete; the lines,
        or None."""
        end = time.monotonic() + seconds
        while True:
            before = len(self.raw)
            alive = self.read(0.1)
            lines = self.screen.text()
            if len(self.raw) == before and condition(lines):
                return lines
            if not alive or time.monotonic() > end:
                return None

    def finish(self, seconds=30):
        """Wait for its end; its exit status, or -signal."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.read(0.1):
            pass
        while self.status is None and time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.01)
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
        return self.status
