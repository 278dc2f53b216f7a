"""Certificates for servers that speak TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path


def certificate(directory: Path, name: str, address: str) -> tuple[Path, Path]:
    """A certificate for an address that has signed itself, and its key, which only root may read."""
    found, key = directory / f"{name}.crt", directory / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=IP:{address}", "-keyout", key, "-out", found),
        ],
        check=True,
        capture_output=True,
    )
    found.chmod(0o644)
    return found, key
