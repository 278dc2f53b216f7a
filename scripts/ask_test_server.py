"""Has a test server run pytest with the arguments given; ends with pytest's status."""

from __future__ import annotations

import socket
import sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    server.sendall("\0".join(sys.argv[2:]).encode())
    answer = server.recv(100)
sys.exit(int(answer) if answer and not answer.startswith(b"-") else 1)
