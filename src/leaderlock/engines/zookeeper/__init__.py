"""Elections in ZooKeeper, through kazoo: ``zookeeper://user:password@host:2181,host/path``.

``zookeepers://`` encrypts the connections (TLS), with the parameters ``ca``, ``cert`` and ``key``.

Each candidate makes an ephemeral sequential node below the path, and watches only its predecessor. The
candidate of the first node leads. Only a write confirms a leader: a follower that is cut off from its
quorum still answers reads.
"""

from __future__ import annotations

from leaderlock.engines.leased.engine import LeasedEngine
from leaderlock.engines.leased.session import Traits
from leaderlock.engines.zookeeper.handler import require_native_threads
from leaderlock.engines.zookeeper.nodes import Nodes
from leaderlock.engines.zookeeper.session import ZooKeeperSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.address import Address

TRAITS = Traits(
    frees="the leader resigns (its node is deleted), or its session expires",
    speed=(
        "a resignation: at once; a killed, stopped or cut-off leader: 1.26 × the lease and two ticks "
        "of the server after its last request; a restart of the ensemble: the leader leads on"
    ),
    clock=(
        "the monotonic clocks of the leading server and of the leader's machine, which tick alike to "
        "one percent; tickTime is taken for half of the server's shortest session"
    ),
    limits=(
        "an ensemble that is set up anew, without its data, begins at a lower term; a server whose "
        "minSessionTimeout is set below two ticks makes the tick look shorter"
    ),
)


def engine(address: Address, lease: float | None) -> LeasedEngine:
    """The engine of a URL; see `engine_of`.

    Raises:
        ValueError: the URL or the lease is wrong.
        Unsupported: gevent or eventlet has patched the threads of this process.
    """
    require_native_threads(address)
    nodes = Nodes(address)
    tls = None
    if address.scheme == "zookeepers":
        from leaderlock.engines.certificates import context_of  # noqa: PLC0415  (only with TLS)
        from leaderlock.engines.zookeeper.handler import TlsWire  # noqa: PLC0415

        tls = context_of(address)
        tls.sslsocket_class = TlsWire
    return LeasedEngine(
        address,
        lease,
        name=nodes.path,
        connect=lambda leased: ZooKeeperSession(leased, nodes, tls),
        traits=TRAITS,
    )
