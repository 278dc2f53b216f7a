"""Asks a vulnerability service about each version that the files pin, and lists the answers.

    python scripts/audit.py osv|pypi FILE…

Status 0: no known vulnerability; 1: some; 3: the service did not answer for some version, so nothing is
known about that. (pip-audit alone ends with 0 if the service has no page for any of the packages.)
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import requests

ADDRESSES = {"osv": "https://api.osv.dev/v1/", "pypi": "https://pypi.org/"}
NOT_AUDITED = 3


def reason_of_silence(address: str) -> str:
    """Why the service cannot be reached; empty if it answers anything at all."""
    try:
        requests.get(address, timeout=15)
    except requests.RequestException as error:
        return str(error)[:300]
    return ""


def answers(service: str, file: str) -> list[dict[str, Any]]:
    """What the service says of each pin in a file."""
    words = ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
    words += ["--disable-pip", "--require-hashes", "--requirement", file]
    run = subprocess.run(
        [sys.executable, "-m", "pip_audit", *words], capture_output=True, text=True, check=False
    )
    try:
        found: list[dict[str, Any]] = json.loads(run.stdout)["dependencies"]
    except (ValueError, TypeError, KeyError):
        sys.exit(f"pip-audit failed with {run.returncode}: {run.stderr[-2000:]}")
    return found


def main(service: str, files: list[str]) -> int:
    """Ask about all files, print a line for each vulnerability, and return the status."""
    address = ADDRESSES[service]
    if why := reason_of_silence(address):
        print(f"NOT AUDITED: {address} cannot be reached from here, so nothing is known.\n{why}")
        return NOT_AUDITED
    status = 0
    for file in files:
        found = answers(service, file)
        skipped = [each for each in found if "skip_reason" in each]
        hurt = [each for each in found if each.get("vulns")]
        for each in hurt:
            for flaw in each["vulns"]:
                fixed = ", ".join(flaw["fix_versions"]) or "no version"
                print(f"{each['name']} {each['version']}: {flaw['id']}, mended in {fixed}")
        asked = len(found) - len(skipped)
        print(f"{file}: {asked} packages asked for, {len(hurt)} with known vulnerabilities")
        if skipped:
            why = skipped[0]["skip_reason"]
            print(f"{file}: NOT AUDITED: {len(skipped)} packages, the first since: {why}")
        status = 1 if hurt or status == 1 else NOT_AUDITED if skipped else status
    return status


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ADDRESSES:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(ADDRESSES)} FILE...")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
