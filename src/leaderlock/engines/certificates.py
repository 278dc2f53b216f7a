"""The certificates that a URL names: its parameters `address.CERTIFICATES`, each a file (PEM)."""

from __future__ import annotations

import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from leaderlock.engines.address import Address


def context_of(address: Address) -> ssl.SSLContext:
    """The certificates that the URL's parameters name; the server's certificate is always checked.

    Raises:
        ValueError: a file cannot be read, or is no certificate; or there is a key without one.
    """
    files: Mapping[str, str] = address.parameters
    if "key" in files and "cert" not in files:
        raise ValueError(f"{address.shown}: the parameter key needs cert, the certificate of the key")
    try:
        context = ssl.create_default_context(cafile=files.get("ca"))
        if "cert" in files:
            context.load_cert_chain(files["cert"], files.get("key"))
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(
            f"{address.shown}: the files of the parameters ca, cert and key cannot be used: {error}"
        ) from error
    return context
