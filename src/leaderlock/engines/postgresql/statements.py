"""The tables of the elections in PostgreSQL, and the statements on them.

The row of an election has the latest term, its leader's secret token, the time of the last renewal by
the server's clock, and the server's incarnation then: the start of its main process, and the timeline,
which a promotion changes. A time by the clock of another incarnation says nothing, since that may be
another machine.
"""

from __future__ import annotations

ELECTIONS = "leaderlock.elections"
NOTES = "leaderlock.notes"

CREATE = f"""\
CREATE SCHEMA IF NOT EXISTS leaderlock;
CREATE TABLE IF NOT EXISTS {ELECTIONS} (
    name text PRIMARY KEY,
    term bigint NOT NULL DEFAULT 0,
    token text NOT NULL DEFAULT '',
    changes bigint NOT NULL DEFAULT 0,
    renewed timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended boolean NOT NULL DEFAULT true,
    incarnation text NOT NULL DEFAULT '',
    lease double precision NOT NULL DEFAULT 0,
    who jsonb
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS {NOTES} (
    election text NOT NULL,
    note text NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (election, note)
);"""
"""A half-full page has room for the next version of a row, so that no index is written."""

GRANT = """\
GRANT USAGE ON SCHEMA leaderlock TO "{role}";
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA leaderlock TO "{role}";"""

CREATE_ALONE = f"SELECT pg_advisory_xact_lock({{key}});\n{CREATE}"
"""As one transaction: IF NOT EXISTS fails if two sessions create the same table at once."""

SET_UP = """\
SET search_path = pg_catalog;
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET default_transaction_isolation = 'read committed';
SET synchronous_commit = on;
SET lock_timeout = {slice};
SET idle_session_timeout = {idle};
SET tcp_keepalives_idle = {probe};
SET tcp_keepalives_interval = {probe};
SET tcp_keepalives_count = 2;
SET tcp_user_timeout = {lost};
DO $$ BEGIN
    PERFORM set_config('client_connection_check_interval', '{check}', false);
    PERFORM set_config('transaction_timeout', '0', false);
EXCEPTION WHEN OTHERS THEN NULL; END $$;
SELECT pg_backend_pid()"""
"""Settings of a session. Those in DO depend on the server: its system cannot tell that a client has
closed, or its version has no such setting. A commit must be on disk, or a crash would forget a term."""

_INCARNATION = (
    "extract(epoch FROM pg_postmaster_start_time())::text || '/' || "
    "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
)
_NOW = "extract(epoch FROM clock_timestamp())::float8"
_CLAIMED = "name = $1 AND term = $2 AND token = $3 AND NOT ended"

ENTER = f"INSERT INTO {ELECTIONS} (name) VALUES ($1) ON CONFLICT DO NOTHING"

NOW = f"SELECT {_NOW}"

TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
UNLOCK = "SELECT pg_advisory_unlock($1)"

LOCK = """\
DO $$ BEGIN
    PERFORM pg_advisory_lock({key});
    PERFORM set_config('leaderlock.locked', 'yes', false);
    PERFORM set_config('idle_session_timeout', '{idle}', false);
EXCEPTION WHEN lock_not_available THEN
    PERFORM set_config('leaderlock.locked', 'no', false);
END $$;
SELECT current_setting('leaderlock.locked')"""
"""Waits for `lock_timeout`. An error that is not caught would be a line in the server's log.

The session of a candidate that has the lock, and does not go on, ends soon: the candidate is stopped or
cut off, and the others wait behind it."""

INSPECT = f"""\
SELECT changes, ended, incarnation = {_INCARNATION}, lease,
    {_NOW} - extract(epoch FROM renewed)::float8, {_NOW},
    set_config('idle_session_timeout', $2, false)
FROM {ELECTIONS} WHERE name = $1"""

_LEAD = f"""\
UPDATE {ELECTIONS} SET term = term + 1, token = $2, changes = changes + 1,
    renewed = clock_timestamp(), ended = false, incarnation = {_INCARNATION}, lease = $3, who = $4
WHERE name = $1 AND """

LEAD = (
    _LEAD + "changes = $5 RETURNING term, set_config('idle_session_timeout', $6, false), "
    "pg_advisory_unlock($7)"
)
"""Lead unless the row has changed since it was inspected; let the next candidate come forward."""

TAKE_OVER = (
    _LEAD
    + "term = $5 AND token = $6 AND NOT ended "
    + "RETURNING term, set_config('idle_session_timeout', $7, false)"
)

RENEW = f"""\
UPDATE {ELECTIONS} SET changes = changes + 1, renewed = clock_timestamp(), incarnation = {_INCARNATION}
WHERE {_CLAIMED} RETURNING CASE WHEN $4 THEN true ELSE pg_try_advisory_lock($5) END"""

RESIGN = f"""\
WITH ended AS (
    UPDATE {ELECTIONS} SET changes = changes + 1, ended = true WHERE {_CLAIMED} RETURNING 1
) SELECT pg_notify($4, '') FROM ended"""

LOOK = f"""\
SELECT term, ended, incarnation = {_INCARNATION}, lease,
    {_NOW} - extract(epoch FROM renewed)::float8, who,
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) | objid::bigint = $2::bigint)
FROM {ELECTIONS} WHERE name = $1"""
"""With the number of sessions that have or wait for a lock."""

READ = f"SELECT encode(content, 'hex') FROM {NOTES} WHERE election = $1 AND note = $2"

WRITE = f"""\
INSERT INTO {NOTES} (election, note, content) VALUES ($1, $2, decode($3, 'hex'))
ON CONFLICT (election, note) DO UPDATE SET content = excluded.content"""
