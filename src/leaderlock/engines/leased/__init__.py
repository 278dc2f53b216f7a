"""Elections in an engine on the network: sessions are renewed, or their leader dies."""
