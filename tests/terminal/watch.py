"""A person at a terminal who runs `ledgerflux watch`:

    python3 tests/terminal/watch.py PROGRAM SERVER

It gives the program a pseudo terminal, reads what is drawn on it, presses keys, changes its size, and looks whether the terminal is
as it was afterwards. Only the standard library is used.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

PATIENCE_S = 30
PROGRAM, SERVER = sys.argv[1:]
ESCAPES = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]|\x1b[=>]")


class Terminal:
    def __init__(self, *arguments):
        self.drawn = ""
        self.size = (30, 120)
        main, inner = pty.openpty()
        self.resize(inner, *self.size)
        self.before = termios.tcgetattr(inner)
        self.inner = inner
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(inner, termios.TIOCSCTTY, 0)
            for stream in (0, 1, 2):
                os.dup2(inner, stream)
            os.closerange(3, 64)
            os.execv(PROGRAM, [PROGRAM, "watch", "--server", SERVER, *arguments])
        self.main = main

    @staticmethod
    def resize(terminal, rows, columns):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        if select.select([self.main], [], [], 0.1)[0]:
            self.drawn += os.read(self.main, 65536).decode(errors="replace")

    def screen(self):
        """The newest frame, as plain text."""
        return ESCAPES.sub("", self.drawn.rsplit("\x1b[1;1H", 1)[-1])

    def until(self, what, holds):
        deadline = time.monotonic() + PATIENCE_S
        while not holds(self.screen()):
            assert time.monotonic() < deadline, f"never came true: {what}\n{self.screen()}"
            self.read()

    def press(self, keys):
        os.write(self.main, keys.encode())

    def ended(self, code):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            assert time.monotonic() < deadline, "it did not end"
        for _ in range(3):
            self.read()
        assert os.waitstatus_to_exitcode(status) == code, (os.waitstatus_to_exitcode(status), self.drawn[-500:])
        assert self.drawn.rstrip().endswith("\x1b[?1049l"), f"the first screen is back: {self.drawn[-80:]!r}"
        assert "\x1b[?25h" in self.drawn, "the cursor is back"
        assert termios.tcgetattr(self.inner) == self.before, "the terminal is as it was"


def price(screen):
    found = re.search(r"BTC-USD\s+(\d+\.?\d*)", screen)
    return found and found[1]


terminal = Terminal()
terminal.until("a table", lambda screen: price(screen) and "SPREAD" in screen and "live" in screen)
first = price(terminal.screen())
terminal.until("prices move", lambda screen: price(screen) not in (None, first))
assert "ETH-USD" in terminal.screen() and SERVER in terminal.screen(), terminal.screen()
terminal.resize(terminal.inner, 30, 50)
terminal.until("a narrow terminal has fewer columns", lambda screen: price(screen) and "SPREAD" not in screen)
terminal.press("q")
terminal.ended(0)

terminal = Terminal()
terminal.until("a table", lambda screen: price(screen) and "live" in screen)
print("kill the gateway", flush=True)
terminal.until("it says so", lambda screen: "disconnected" in screen and "connection lost" in screen)
assert price(terminal.screen()), "what was known is still there"
print("start the gateway", flush=True)
# The bus was a part of what died: what is there now is another history, and nothing of the one before can be continued.
newest = "connected again: it starts with the newest state"
terminal.until("it connects again by itself", lambda screen: newest in screen and "LedgerFlux  live" in screen)
assert "it goes on" not in terminal.screen(), terminal.screen()
first = price(terminal.screen())
terminal.until("prices move again", lambda screen: price(screen) not in (None, first))
terminal.press("q")
terminal.ended(0)

terminal = Terminal("BTC-USD")
terminal.until("one product", lambda screen: price(screen) and "ETH-USD" not in screen)
terminal.press("\x03")
terminal.ended(0)

terminal = Terminal("BTC-USD")
terminal.until("a table", lambda screen: price(screen))
os.kill(terminal.pid, signal.SIGTERM)
terminal.ended(0)

terminal = Terminal("BTC-USD", "--count", "3")
terminal.ended(0)
print("everything held")
