"""The tables of the outbox in PostgreSQL, and every SQL statement.

A row's ``key`` is the digest of destination, event name, event id and where it was born: an index
entry of 32 bytes for names and ids of any length. ``due`` is null once settled; a dead letter has a
``reason``. ``subjects`` is null once delivered; in their own order those of one browser are next to
each other.

Strategy: each statement is a transaction of its own and finds its rows through an index, even if
the planner's statistics are out of date, for the table swings between empty and a million rows. An
array from a subquery, whose length the planner does not know, makes it use the primary key; the
order of ``bridge_deliveries_due`` is the order of a claim.

Source: PostgreSQL 15, "SELECT", The Locking Clause, and "INSERT", ON CONFLICT Clause, as installed
and tried, 2026-11-24.
"""

from __future__ import annotations

import re

TABLES = ("bridge_deliveries", "bridge_circuits", "bridge_figures")

# Any number will do, as long as every process uses the same.
_LOCK = int.from_bytes(b"bridge", "big")

# Figures: without this table events are stored and delivered all the same.
FIGURES_TABLE = """
CREATE TABLE IF NOT EXISTS bridge_figures (
    day integer NOT NULL,
    destination text NOT NULL,
    event_name text NOT NULL,
    kind text NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (day, destination, event_name, kind)
);
"""

# A database administrator runs this if the application's role may not create tables. The role needs
# SELECT, INSERT, UPDATE and DELETE on all of them. Running it again is harmless.
SCHEMA = f"""
SELECT pg_advisory_xact_lock({_LOCK});
CREATE TABLE IF NOT EXISTS bridge_deliveries (
    key bytea PRIMARY KEY,
    destination text NOT NULL,
    event_name text NOT NULL,
    event_id text NOT NULL,
    body bytea,
    due double precision,
    expires double precision NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    stored_at double precision NOT NULL,
    settled_at double precision,
    reason text,
    from_browser boolean NOT NULL DEFAULT false,
    has_given_id boolean NOT NULL DEFAULT false,
    subjects bytea
) WITH (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);
CREATE INDEX IF NOT EXISTS bridge_deliveries_due
    ON bridge_deliveries (destination, due, stored_at, attempts) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS bridge_deliveries_held
    ON bridge_deliveries USING hash (event_id) WHERE due IS NOT NULL AND attempts = 0;
CREATE INDEX IF NOT EXISTS bridge_deliveries_delivered
    ON bridge_deliveries (has_given_id, settled_at, destination)
    WHERE due IS NULL AND reason IS NULL;
CREATE INDEX IF NOT EXISTS bridge_deliveries_subjects
    ON bridge_deliveries (subjects) WHERE subjects IS NOT NULL;
CREATE INDEX IF NOT EXISTS bridge_deliveries_dead
    ON bridge_deliveries (settled_at, key, destination) WHERE reason IS NOT NULL;
CREATE INDEX IF NOT EXISTS bridge_deliveries_dead_event
    ON bridge_deliveries USING hash (event_id) WHERE reason IS NOT NULL;
CREATE TABLE IF NOT EXISTS bridge_circuits (
    destination text PRIMARY KEY,
    state text NOT NULL,
    reason text NOT NULL,
    since double precision NOT NULL,
    until double precision NOT NULL
);
{FIGURES_TABLE}
"""

# The schema that holds the tables, quoted; no row if one is missing without which nothing works.
FIND_TABLES = """
SELECT quote_ident(nspname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = to_regclass('bridge_deliveries') AND to_regclass('bridge_circuits') IS NOT NULL
"""

# Makes the commit of a statement wait for the disk, where the server, the role or the transaction
# says ``synchronous_commit = off``. It is set for this transaction alone, so that the next client
# of a pooler is not affected. Stands in a condition: a subquery without a row of the query's is
# evaluated once, before the first row.
# Source: PostgreSQL 15, "Asynchronous Commit", and "System Administration Functions", set_config,
# as installed and tried, 2026-11-30.
DURABLY = """(
    SELECT set_config(
        'synchronous_commit', CASE setting WHEN 'off' THEN 'on' ELSE setting END, true
    ) FROM current_setting('synchronous_commit') AS setting
) IS NOT NULL"""

# The opposite, for what may be done again: a claim that a crash of the server's machine undoes is
# made again, and what an undone ack had marked is sent again, with the same bytes. Waiting for the
# disk at each of these takes as long as at a put.
LAZILY = "set_config('synchronous_commit', 'off', true) IS NOT NULL"

# Keys that wait are neither written nor locked: a caller who tracks an order again in a long
# transaction does not stop a sender from delivering it. Rows are inserted in the order of their
# keys, as in every other transaction, so that no two transactions wait for each other. What a
# browser reports is left out while the server's own is known: ``own_key`` is its key. That is a
# subquery for one value, which is looked up in the index whatever the statistics say.
PUT = f"""
WITH given AS (
    SELECT given.* FROM unnest(
        %(keys)s::bytea[], %(destinations)s::text[], %(names)s::text[], %(ids)s::text[],
        %(bodies)s::bytea[], %(dues)s::float8[], %(expires)s::float8[], %(nows)s::float8[],
        %(given)s::boolean[], %(subjects)s::bytea[], %(own_keys)s::bytea[]
    ) AS given (
        key, destination, event_name, event_id, body, due, expires, now,
        has_given_id, subjects, own_key
    )
    WHERE {DURABLY} AND (own_key IS NULL OR (
        SELECT own.due IS NOT NULL OR (
            own.reason IS NULL AND own.settled_at >= given.now - CASE
                WHEN own.has_given_id THEN %(lasting)s::float8 ELSE %(remembered)s::float8
            END
        )
        FROM bridge_deliveries AS own WHERE own.key = given.own_key
    ) IS NOT TRUE)
), replaced AS (
    UPDATE bridge_deliveries AS stored
    SET body = given.body, due = given.due, expires = given.expires, attempts = 0,
        stored_at = given.now, settled_at = NULL, reason = NULL,
        has_given_id = given.has_given_id, subjects = given.subjects
    FROM given
    WHERE stored.key = given.key AND stored.due IS NULL
      AND (stored.reason IS NOT NULL OR stored.settled_at < given.now
          - CASE WHEN stored.has_given_id THEN %(lasting)s::float8 ELSE %(remembered)s::float8 END)
    RETURNING stored.key
), added AS (
    INSERT INTO bridge_deliveries AS stored
        (key, destination, event_name, event_id, body, due, expires, stored_at,
         from_browser, has_given_id, subjects)
    SELECT key, destination, event_name, event_id, body, due, expires, now,
           own_key IS NOT NULL, has_given_id, subjects
    FROM given ORDER BY key
    ON CONFLICT (key) DO NOTHING
    RETURNING stored.key
)
SELECT key FROM replaced UNION ALL SELECT key FROM added
"""  # noqa: S608 - of constants

# The same, but it fails after waiting ``lock_timeout`` for another transaction. The limit is set
# within the statement and for it alone: that costs no round trip, and the next client of a pooler
# is not affected. It is set where ``given`` is read, before anything is written.
# Source: PostgreSQL 15, "System Administration Functions", set_config, and "Client Connection
# Defaults", lock_timeout, as installed and tried, 2026-11-24.
# Its arrays are sent as bytes (%b), which psycopg builds without quoting each element.
PUT_OR_GIVE_UP = re.sub(r"%\((\w+)\)s::(\w+\[\])", r"%(\1)b::\2", PUT).replace(
    "FROM unnest(", "FROM set_config('lock_timeout', %(lock_timeout)s, true), unnest(", 1
)

# How many of the keys would take new room.
COUNT_NEW = """
SELECT count(*) FROM unnest(%(keys)s::bytea[]) AS given (key)
WHERE NOT EXISTS (
    SELECT FROM bridge_deliveries AS stored
    WHERE stored.key = given.key AND (stored.due IS NOT NULL OR stored.reason IS NOT NULL)
)
"""

# The last column is when each was due; ``floor`` is that of ``floors.py``.
CLAIM = f"""
WITH picked AS MATERIALIZED (
    SELECT key, due, stored_at FROM bridge_deliveries
    WHERE destination = %(destination)s
      AND (SELECT {LAZILY})
      AND due >= %(floor)s::float8 AND due <= %(now)s::float8
    ORDER BY due, stored_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE bridge_deliveries SET due = %(until)s::float8, attempts = attempts + 1
    WHERE key = ANY (ARRAY(SELECT key FROM picked))
    RETURNING key, destination, event_name, event_id, body, due, expires, attempts,
              from_browser, has_given_id, coalesce(subjects, '') AS subjects
)
SELECT destination, event_name, event_id, body, claimed.due, expires, attempts,
       from_browser, has_given_id, subjects, picked.due
FROM claimed JOIN picked USING (key) ORDER BY picked.due, picked.stored_at
"""  # noqa: S608 - of constants

# The same for one row, and the keys of those that a claim would take. For ``damage.py``.
CLAIM_ONE = CLAIM.replace("WHERE destination", "WHERE key = %(key)s AND destination", 1)
PICK = """
SELECT key FROM bridge_deliveries
WHERE destination = %(destination)s AND due >= %(floor)s::float8 AND due <= %(now)s::float8
ORDER BY due, stored_at LIMIT %(limit)s
"""
READ_NAMES = "SELECT event_name, event_id, from_browser FROM bridge_deliveries WHERE key = %(key)s"
READ_ASCII = r"""
SELECT regexp_replace(event_name, '[^ -~]', '?', 'g'),
       regexp_replace(event_id, '[^ -~]', '?', 'g'), from_browser
FROM bridge_deliveries WHERE key = %(key)s
"""
READ_BODY = "SELECT length(body || '') FROM bridge_deliveries WHERE key = %(key)s"
SET_ASIDE = """
UPDATE bridge_deliveries
SET key = %(new)s, event_name = %(event_name)s, event_id = %(event_id)s,
    body = CASE WHEN %(has_body)s THEN body END,
    due = NULL, settled_at = %(now)s::float8, reason = %(reason)s
WHERE key = %(key)s AND due IS NOT NULL
RETURNING key
"""

# A settled row stays settled, even if a worker whose lease ran out reports on it again.
ACK = f"""
UPDATE bridge_deliveries
SET due = NULL, body = NULL, subjects = NULL, settled_at = %(now)s::float8
WHERE key = ANY (ARRAY(SELECT unnest(%(keys)s::bytea[]))) AND due IS NOT NULL
  AND (SELECT {LAZILY})
"""  # noqa: S608 - of constants

# Below ``floor`` all is forgotten already: what is dead there need not be passed.
FORGET = """
DELETE FROM bridge_deliveries WHERE key = ANY (ARRAY(
    SELECT key FROM bridge_deliveries
    WHERE due IS NULL AND reason IS NULL AND has_given_id = %(given)s
      AND settled_at >= %(floor)s::float8 AND settled_at < %(before)s::float8
    ORDER BY settled_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
"""

RETRY = """
UPDATE bridge_deliveries SET due = %(due)s::float8
WHERE key = ANY (ARRAY(SELECT unnest(%(keys)s::bytea[]))) AND due IS NOT NULL
"""

BURY = """
UPDATE bridge_deliveries SET due = NULL, settled_at = %(now)s::float8, reason = %(reason)s
WHERE key = ANY (ARRAY(SELECT unnest(%(keys)s::bytea[]))) AND due IS NOT NULL
"""

RELEASE = """
UPDATE bridge_deliveries SET due = %(now)s::float8
WHERE event_id = %(event_id)s AND event_name = %(event_name)s AND NOT from_browser
  AND due IS NOT NULL AND due > %(now)s::float8 AND attempts = 0
  AND substring(subjects FROM 1 FOR %(size)s) = ANY (%(subjects)s::bytea[])
  AND (%(names)s::text[] IS NULL OR destination = ANY (%(names)s::text[]))
"""

# The destinations of waiting deliveries, each found by one step along ``bridge_deliveries_due``.
_STEPPED = """
WITH RECURSIVE stepped (destination) AS (
    (SELECT destination FROM bridge_deliveries WHERE due IS NOT NULL ORDER BY destination LIMIT 1)
    UNION ALL
    SELECT (
        SELECT following.destination FROM bridge_deliveries AS following
        WHERE following.due IS NOT NULL AND following.destination > stepped.destination
        ORDER BY following.destination LIMIT 1
    ) FROM stepped WHERE stepped.destination IS NOT NULL
)
"""

# The names of destinations, without reading the whole table: those of waiting deliveries, and those
# of the newest delivered ones.
DESTINATIONS = f"""{_STEPPED}, newest AS (
    (SELECT destination FROM bridge_deliveries
     WHERE due IS NULL AND reason IS NULL AND NOT has_given_id
     ORDER BY settled_at DESC LIMIT 1000)
    UNION ALL
    (SELECT destination FROM bridge_deliveries
     WHERE due IS NULL AND reason IS NULL AND has_given_id
     ORDER BY settled_at DESC LIMIT 1000)
)
SELECT destination FROM stepped WHERE destination IS NOT NULL
UNION SELECT destination FROM newest
"""  # noqa: S608 - of constants

HAS = """
SELECT EXISTS (
    SELECT FROM bridge_deliveries WHERE key = ANY (ARRAY(SELECT unnest(%(keys)s::bytea[])))
      AND CASE
          WHEN due IS NOT NULL OR reason IS NOT NULL THEN stored_at >= %(since)s::float8
          ELSE settled_at >= %(now)s::float8
              - CASE WHEN has_given_id THEN %(lasting)s::float8 ELSE %(remembered)s::float8 END
      END
) OR EXISTS (
    SELECT FROM bridge_deliveries
    WHERE event_id = %(event_id)s AND event_name = %(event_name)s AND NOT from_browser
      AND reason IS NOT NULL AND stored_at >= %(since)s::float8
      AND (%(names)s::text[] IS NULL OR destination = ANY (%(names)s::text[]))
)
"""

NEXT_DUE = """
SELECT due FROM bridge_deliveries
WHERE destination = %(destination)s AND due >= %(floor)s::float8 AND due <= %(until)s::float8
ORDER BY due LIMIT 1
"""

# A row has the destination, then the fields of Counts. Each part reads one index.
_COUNT = """
SELECT destination, sum(waiting)::bigint, sum(held)::bigint, sum(delivered)::bigint,
       sum(dead)::bigint, min(oldest)
FROM (
    SELECT destination, count(*), count(*) FILTER (WHERE attempts = 0 AND due > %(now)s::float8),
           0, 0, min(stored_at)
    FROM bridge_deliveries WHERE due IS NOT NULL GROUP BY destination
    UNION ALL
    SELECT destination, 0, 0, 0, count(*), NULL FROM bridge_deliveries
    WHERE reason IS NOT NULL GROUP BY destination
    -- delivered
) AS counted (destination, waiting, held, delivered, dead, oldest) GROUP BY destination
"""
_DELIVERED = """
UNION ALL
SELECT destination, 0, 0, count(*), 0, NULL FROM bridge_deliveries
WHERE due IS NULL AND reason IS NULL AND has_given_id = ANY ('{false,true}'::boolean[])
  AND settled_at >= %(forgotten)s::float8
GROUP BY destination
"""
COUNT, COUNT_WITH_DELIVERED = (
    _COUNT.replace("    -- delivered\n", each) for each in ("", _DELIVERED)
)

TIME = "SELECT extract(epoch FROM clock_timestamp())::float8"

# Whether deliveries can be stored here: a server that recovers, or was demoted, only reads.
CAN_WRITE = "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"

COUNT_HELD = """
SELECT (SELECT count(*) FROM bridge_deliveries WHERE due IS NOT NULL)
     + (SELECT count(*) FROM bridge_deliveries WHERE reason IS NOT NULL)
"""

# Counting reads a whole index. With statistics from when the table was empty, PostgreSQL would read
# the whole table instead, with every body.
INDEX_ONLY = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"

_DEAD = """
SELECT destination, event_name, event_id, coalesce(body, ''), settled_at, expires, attempts,
       from_browser, has_given_id, coalesce(subjects, ''), reason, settled_at
FROM bridge_deliveries WHERE reason IS NOT NULL
"""

LIST_DEAD = f"""{_DEAD}
AND (%(destination)s::text IS NULL OR destination = %(destination)s)
ORDER BY settled_at DESC, key DESC LIMIT %(limit)s OFFSET %(offset)s
"""

FIND_DEAD = f"{_DEAD} AND event_id = %(event_id)s ORDER BY settled_at DESC, key DESC"

REVIVE = f"""
UPDATE bridge_deliveries
SET due = %(now)s::float8, attempts = 0, settled_at = NULL, reason = NULL
WHERE key = ANY (ARRAY(SELECT unnest(%(keys)s::bytea[]))) AND reason IS NOT NULL
  AND {DURABLY}
"""  # noqa: S608 - of constants

DROP = f"""
DELETE FROM bridge_deliveries
WHERE key = ANY (ARRAY(SELECT unnest(%(keys)s::bytea[]))) AND reason IS NOT NULL
  AND {DURABLY}
"""  # noqa: S608 - of constants

# Rows are locked in the order of their keys, as in every other transaction.
DROP_OLD = f"""
DELETE FROM bridge_deliveries WHERE key = ANY (ARRAY(
    SELECT key FROM bridge_deliveries
    WHERE reason IS NOT NULL AND settled_at < %(before)s::float8
    ORDER BY settled_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)) AND {DURABLY}
"""  # noqa: S608 - of constants

WITHDRAW = f"""
DELETE FROM bridge_deliveries WHERE key = ANY (ARRAY(
    SELECT key FROM bridge_deliveries
    WHERE subjects >= %(first)s AND subjects <= %(last)s ORDER BY key FOR UPDATE
)) AND subjects IS NOT NULL AND {DURABLY}
"""  # noqa: S608 - of constants

FIND_SUBJECTS = """
SELECT DISTINCT subjects FROM bridge_deliveries
WHERE subjects IS NOT NULL AND EXISTS (
    SELECT FROM unnest(%(parts)s::bytea[]) AS part WHERE position(part IN subjects) > 0
)
"""

# Two statements: a delivery may become a dead letter in between, and then it is one.
_ERASE = f"""
DELETE FROM bridge_deliveries WHERE key = ANY (ARRAY(
    SELECT key FROM bridge_deliveries
    WHERE subjects = ANY (ARRAY(SELECT unnest(%(found)s::bytea[]))) AND {{state}}
    ORDER BY key FOR UPDATE
)) AND {{state}} AND {DURABLY}
"""  # noqa: S608 - of constants
ERASE_WAITING = _ERASE.replace("{state}", "due IS NOT NULL")
ERASE_DEAD = _ERASE.replace("{state}", "reason IS NOT NULL")

# In the order of a Delivery's fields.
_WAITING = """
SELECT destination, event_name, event_id, coalesce(body, ''), due, expires, attempts,
       from_browser, has_given_id, coalesce(subjects, '')
FROM bridge_deliveries WHERE due IS NOT NULL
"""
# Each destination's are in the order of ``bridge_deliveries_due``, so that only a page is read. The
# key puts those that were stored together into one order, or a page would repeat some of another.
LIST_WAITING = f"""{_STEPPED}
SELECT waiting.destination, event_name, event_id, coalesce(body, ''), due, expires, attempts,
       from_browser, has_given_id, coalesce(subjects, '')
FROM stepped CROSS JOIN LATERAL (
    SELECT * FROM bridge_deliveries AS each
    WHERE each.due IS NOT NULL AND each.destination = stepped.destination
    ORDER BY each.due, each.stored_at, each.attempts, each.key
    LIMIT %(limit)s::bigint + %(offset)s::bigint
) AS waiting
WHERE %(destination)s::text IS NULL OR stepped.destination = %(destination)s
ORDER BY due, stored_at, attempts, key LIMIT %(limit)s OFFSET %(offset)s
"""  # noqa: S608 - of constants
FIND_WAITING = f"""{_WAITING}
AND key = ANY (ARRAY(SELECT unnest(%(keys)s::bytea[]))) ORDER BY due, stored_at
"""

# Rows are locked in one order, as in every other transaction.
ADD_FIGURES = """
WITH forgotten AS (
    DELETE FROM bridge_figures WHERE day < extract(epoch FROM now())::bigint / 86400 - %(kept)s
)
INSERT INTO bridge_figures AS stored
SELECT * FROM unnest(
    %(days)s::integer[], %(destinations)s::text[], %(names)s::text[], %(kinds)s::text[],
    %(numbers)s::bigint[]
) AS given (day, destination, event_name, kind, number)
ORDER BY day, destination, event_name, kind
ON CONFLICT (day, destination, event_name, kind)
DO UPDATE SET number = stored.number + excluded.number
"""
FIGURES = """
SELECT day, destination, event_name, kind, number FROM bridge_figures
WHERE day BETWEEN %(since)s AND %(until)s ORDER BY day, destination, event_name
"""

SAVE_CIRCUIT = """
INSERT INTO bridge_circuits (destination, state, reason, since, until)
VALUES (%(destination)s, %(state)s, %(reason)s, %(since)s::float8, %(until)s::float8)
ON CONFLICT (destination) DO UPDATE
SET state = excluded.state, reason = excluded.reason, since = excluded.since, until = excluded.until
"""

CIRCUITS = "SELECT destination, state, reason, since, until FROM bridge_circuits"

# Settings of the server with which a commit is not on disk, whatever a transaction says, and that
# of this session. Source: PostgreSQL 17, "Reliability", "Write Ahead Log": the other values of
# synchronous_commit flush the local disk.
DURABILITY = """
SELECT name FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'
ORDER BY name
"""
