"""The Lua scripts of the Redis outbox: every change is one script, done completely or not at all.

Redis runs one script at a time but does not roll back one that fails halfway. So each script checks
the type of every key before it writes, and the server refuses ``PUT`` before it begins if the
memory is used up. The others have the flag ``allow-oom``: they make room.

Each script takes its keys in the order of ``_SHARED`` and ``_PARTS`` in ``keys.py``. Its first
argument says whether it repeats a call whose answer was lost. A script never builds a key's name
itself, so that a cluster can route it.

Source: Redis, "EVAL", the note on key names, read 2026-11-24; what the flags do was measured on
Redis 7.0.15 (tests/outbox/test_redis.py, the full memory).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from bridge.outbox.base import SUBJECT_BYTES

_CHUNK = 1000  # arguments of one call from Lua; its stack holds about 8000

# ``each`` splits a list into chunks, for commands that take many members. ``HASHES`` says how many
# of the last keys are those of ``memory.py``.
_PRELUDE = f"""
local DELIVERIES, ATTEMPTS, REASONS, UNREADABLE = unpack(KEYS, 1, 4)
local DESTINATIONS, DEAD, DEAD_IDS, SUBJECTS = unpack(KEYS, 5, 8)
for i = 1, 4 do redis.call('HLEN', KEYS[i]) end
redis.call('SCARD', DESTINATIONS)
local LAST = #KEYS - HASHES
for i = 6, LAST do redis.call('ZCARD', KEYS[i]) end

local LANES = {{}}
for i = 9, LAST, 4 do
    LANES[#LANES + 1] = {{due = KEYS[i], held = KEYS[i + 1], stored = KEYS[i + 2],
                         dead = KEYS[i + 3]}}
end

local REPEATED = ARGV[1] == '1'
local SUBJECT_BYTES = {SUBJECT_BYTES}

local function each(list, work)
    for i = 1, #list, {_CHUNK} do
        local chunk = {{}}
        for j = i, math.min(i + {_CHUNK} - 1, #list) do chunk[#chunk + 1] = list[j] end
        work(chunk)
    end
end

local function end_wait(lane, digest)
    redis.call('ZREM', lane.held, digest)
    redis.call('ZREM', lane.stored, digest)
    return redis.call('ZREM', lane.due, digest) == 1
end

local function end_death(lane, digest, event)
    redis.call('ZREM', DEAD, digest)
    redis.call('ZREM', DEAD_IDS, event .. digest)
    redis.call('HDEL', REASONS, digest)
    return redis.call('ZREM', lane.dead, digest) == 1
end

local function read_stored_at(record)
    local at = #record >= 16 and struct.unpack('>d', record, 9)
    return at and at == at and at or 0
end

local function read_subjects(record)
    return record:sub(19, 18 + (record:byte(18) or 0))
end

local function end_interest(digest, subjects)
    if subjects ~= '' then redis.call('ZREM', SUBJECTS, subjects .. digest) end
end

local function delete(digest)
    local record = redis.call('HGET', DELIVERIES, digest)
    if record then end_interest(digest, read_subjects(record)) end
    redis.call('HDEL', DELIVERIES, digest)
    redis.call('HDEL', ATTEMPTS, digest)
end

local function dead_letters(digests)
    local answer = {{}}
    each(digests, function(chunk)
        local records = redis.call('HMGET', DELIVERIES, unpack(chunk))
        local attempts = redis.call('HMGET', ATTEMPTS, unpack(chunk))
        local reasons = redis.call('HMGET', REASONS, unpack(chunk))
        local times = redis.call('ZMSCORE', DEAD, unpack(chunk))
        for i, digest in ipairs(chunk) do
            answer[#answer + 1] = {{digest, records[i], attempts[i], reasons[i], times[i]}}
        end
    end)
    return answer
end
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and its SHA-1 by which a server that has seen it runs it again."""

    text: str
    sha: str


def _build_script(
    body: str,
    flags: Literal["", "no-writes", "allow-oom"] = "allow-oom",
    *,
    prelude: str = _PRELUDE,
    hashes: str = "0",
) -> Script:
    shebang = f"#!lua flags={flags}" if flags else "#!lua"
    text = f"{shebang}\nlocal HASHES = {hashes}\n{prelude}{body}"
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# For PUT and HAS, whose first arguments say how many hashes of random and of given ids there are:
# when a digest was accepted, in milliseconds, if it counts. Hashes without keys are passed over.
_ASK_TWO = "ARGV[2] + ARGV[3]"
_ACCEPTED = """
local RANDOM, GIVEN = {}, {}
for i = #KEYS, LAST + 1, -1 do
    local hashes = i <= LAST + ARGV[2] and RANDOM or GIVEN
    if redis.call('HLEN', KEYS[i]) > 0 then hashes[#hashes + 1] = KEYS[i] end
end

local function find_in(hashes, digest, horizon)
    for _, key in ipairs(hashes) do
        local found = redis.call('HGET', key, digest)
        local at = found and struct.unpack('>I6', found)
        if at and at >= horizon then return at end
    end
end

local function read_accepted(digest, horizon, given_horizon)
    return find_in(RANDOM, digest, horizon) or find_in(GIVEN, digest, given_horizon)
end
"""

# how many hashes of each kind; how many destinations, their names; then for each put: whether it
# repeats one whose answer was lost, now, the same in milliseconds, horizon, that of given ids, both
# in milliseconds, capacity, how many deliveries, and for each of these: lane, digest, event digest,
# due, record, the digest of the server's own event if a browser reported this one. Answers each
# put: which are new, or how many are held if there is too little room.
# A repeated call recognises what the first one stored by the token at the start of the record. A
# delivery that was accepted meanwhile has no record any more; if it was accepted after the caller's
# ``now``, it is taken for ours, as hardly anything else can be that young. Its own is written once
# more: WAIT, which may follow, is about what was written on its connection.
PUT = _build_script(
    _ACCEPTED
    + """
local names = tonumber(ARGV[4])
local again, now, now_ms, horizon, given_horizon, fresh, seen, growth

local function is_ours(digest, record)
    local there = again and redis.call('HGET', DELIVERIES, digest)
    if not there or there:sub(1, 8) ~= record:sub(1, 8) then return false end
    redis.call('HSET', DELIVERIES, digest, there)
    return true
end

local function is_known(lane, digest)
    local waits = redis.call('ZSCORE', lane.due, digest)
    if waits and redis.call('HEXISTS', DELIVERIES, digest) == 1 then return true end
    local accepted = read_accepted(digest, horizon, given_horizon)
    return accepted, accepted
end

local function judge(i)
    local lane, digest, record = LANES[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 4]
    if seen[digest] then return 0 end
    seen[digest] = true
    if is_ours(digest, record) then return 1 end
    local own = ARGV[i + 5]
    if own ~= '' and (seen[own] or is_known(lane, own)) then return 0 end
    local known, accepted = is_known(lane, digest)
    if known then
        return again and accepted and accepted >= now_ms and 1 or 0
    end
    local dead = redis.call('ZSCORE', lane.dead, digest)
    if not dead then growth = growth + 1 end
    fresh[#fresh + 1] = {at = i, dead = dead}
    return 1
end

local function write(it, stored_at)
    local i, place = it.at, tonumber(ARGV[it.at])
    local lane, digest, due, record = LANES[place], ARGV[i + 1], ARGV[i + 3], ARGV[i + 4]
    if it.dead then
        end_death(lane, digest, ARGV[i + 2])
        delete(digest)
    end
    if not lane.is_named then redis.call('SADD', DESTINATIONS, ARGV[4 + place]) end
    lane.is_named = true
    redis.call('HSET', DELIVERIES, digest, record)
    local subjects = read_subjects(record)
    if subjects ~= '' then redis.call('ZADD', SUBJECTS, 0, subjects .. digest) end
    redis.call('ZADD', lane.due, due, digest)
    redis.call('ZADD', lane.stored, stored_at, digest)
    if tonumber(due) > now then redis.call('ZADD', lane.held, due, digest) end
end

local function put(at, last)
    again, now = REPEATED or ARGV[at] == '1', tonumber(ARGV[at + 1])
    now_ms = tonumber(ARGV[at + 2])
    horizon, given_horizon = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    fresh, seen, growth = {}, {}, 0
    local answers = {}
    for i = at + 7, last, 6 do answers[#answers + 1] = judge(i) end
    if growth > 0 then
        local load = redis.call('HLEN', DELIVERIES)
        if load + growth > tonumber(ARGV[at + 5]) then return load end
    end
    for _, it in ipairs(fresh) do write(it, ARGV[at + 1]) end
    return answers
end

local answer, at = {}, 5 + names
while at <= #ARGV do
    local last = at + 6 + 6 * tonumber(ARGV[at + 6])
    answer[#answer + 1] = put(at, last)
    at = last + 1
end
return answer
""",
    flags="",
    hashes=_ASK_TWO,
)

# now, end of the lease, limit. Returns digests, each with its attempts. The records are read
# afterwards by another command: Lua would copy each one, and hashes only some thirty letters of a
# text, so that a thousand similar records are compared with each other one by one.
CLAIM = _build_script(
    """
local lane, answer = LANES[1], {}

local function count_next(text)
    local attempts = tonumber(text or 0)
    local is_count = attempts and attempts >= 0 and attempts < 1e9 and attempts % 1 == 0
    return (is_count and attempts or 0) + 1
end

each(redis.call('ZRANGE', lane.due, '-inf', ARGV[2], 'BYSCORE', 'LIMIT', 0, ARGV[4]),
function(chunk)
    local leases, attempts = {}, {}
    redis.call('ZREM', lane.held, unpack(chunk))
    for i, text in ipairs(redis.call('HMGET', ATTEMPTS, unpack(chunk))) do
        local digest, count = chunk[i], count_next(text)
        answer[#answer + 1] = digest
        answer[#answer + 1] = count
        attempts[2 * i - 1], attempts[2 * i] = digest, count
        leases[2 * i - 1], leases[2 * i] = ARGV[3], digest
    end
    redis.call('HSET', ATTEMPTS, unpack(attempts))
    redis.call('ZADD', lane.due, unpack(leases))
end)
return answer
"""
)

# digests of the first lane, each with the record that was read, empty if there was none. They leave
# the lane, unless they have another record by now; one that cannot be read is kept for a person.
SET_ASIDE = _build_script(
    """
for i = 2, #ARGV, 2 do
    local digest, record = ARGV[i], ARGV[i + 1]
    if (redis.call('HGET', DELIVERIES, digest) or '') == record then
        end_wait(LANES[1], digest)
        if record ~= '' then redis.call('HSET', UNREADABLE, digest, record) end
        delete(digest)
    end
end
"""
)

# when it was accepted, as hashes hold it; the names of the hashes for random ids, for given ones
# and for counts; the destinations; then for each delivery: lane, digest, its subjects, whether its
# id was given. The last keys are those of the three hashes, and of the set of their names.
ACK = _build_script(
    """
local RANDOM, GIVEN, COUNTS, REMEMBERED = unpack(KEYS, LAST + 1)
local acked = {}
for i = 6 + #LANES, #ARGV, 4 do
    local lane = tonumber(ARGV[i])
    acked[lane] = acked[lane] or {}
    table.insert(acked[lane], i)
end

local function ack(place, chunk)
    local lane, digests, waiting, interests = LANES[place], {}, {}, {}
    local kept = {[RANDOM] = {}, [GIVEN] = {}}
    for n, i in ipairs(chunk) do digests[n] = ARGV[i + 1] end
    for n, due in ipairs(redis.call('ZMSCORE', lane.due, unpack(digests))) do
        if due then
            local i, digest = chunk[n], digests[n]
            waiting[#waiting + 1] = digest
            if ARGV[i + 2] ~= '' then interests[#interests + 1] = ARGV[i + 2] .. digest end
            local part = kept[ARGV[i + 3] == '1' and GIVEN or RANDOM]
            part[#part + 1] = digest
            part[#part + 1] = ARGV[2]
        end
    end
    if #waiting == 0 then return end
    for _, part in ipairs({'due', 'held', 'stored'}) do
        redis.call('ZREM', lane[part], unpack(waiting))
    end
    redis.call('HDEL', DELIVERIES, unpack(waiting))
    redis.call('HDEL', ATTEMPTS, unpack(waiting))
    if #interests > 0 then redis.call('ZREM', SUBJECTS, unpack(interests)) end
    for hash, fields in pairs(kept) do
        if #fields > 0 then redis.call('HSET', hash, unpack(fields)) end
    end
    redis.call('HINCRBY', COUNTS, ARGV[5 + place], #waiting)
    redis.call('SADD', REMEMBERED, ARGV[3], ARGV[4], ARGV[5])
end

for i = 1, 3 do redis.call('HLEN', KEYS[LAST + i]) end
redis.call('SCARD', REMEMBERED)
for place, chunk in pairs(acked) do
    each(chunk, function(part) ack(place, part) end)
end
""",
    hashes="4",
)

# due; then for each delivery: lane, digest.
RETRY = _build_script(
    """
local waiting = 0
for i = 3, #ARGV, 2 do
    local lane, digest = LANES[tonumber(ARGV[i])], ARGV[i + 1]
    if redis.call('ZSCORE', lane.due, digest) then
        redis.call('ZADD', lane.due, ARGV[2], digest)
        if redis.call('HEXISTS', ATTEMPTS, digest) == 0 then
            redis.call('ZADD', lane.held, ARGV[2], digest)
        end
        waiting = waiting + 1
    end
end
return waiting
"""
)

# now, reason; then for each delivery: lane, digest, event digest.
BURY = _build_script(
    """
for i = 4, #ARGV, 3 do
    local lane, digest = LANES[tonumber(ARGV[i])], ARGV[i + 1]
    if end_wait(lane, digest) then
        redis.call('ZADD', lane.dead, ARGV[2], digest)
        redis.call('ZADD', DEAD, ARGV[2], digest)
        redis.call('ZADD', DEAD_IDS, 0, ARGV[i + 2] .. digest)
        redis.call('HSET', REASONS, digest, ARGV[3])
    end
end
"""
)

# now, the event's digest in each lane, the first subjects. A repeat counts what the first call
# released.
RELEASE = _build_script(
    """
local released, now, subjects = 0, tonumber(ARGV[2]), {}
for i = 3 + #LANES, #ARGV do subjects[ARGV[i]] = true end

local function is_theirs(digest)
    local record = redis.call('HGET', DELIVERIES, digest) or ''
    return subjects[read_subjects(record):sub(1, SUBJECT_BYTES)]
end

for i, lane in ipairs(LANES) do
    local digest = ARGV[i + 2]
    local held = redis.call('ZSCORE', lane.held, digest)
    if held and tonumber(held) > now and is_theirs(digest) then
        redis.call('ZREM', lane.held, digest)
        redis.call('ZADD', lane.due, ARGV[2], digest)
        released = released + 1
    elseif REPEATED and tonumber(redis.call('ZSCORE', lane.due, digest) or -1) == now
            and is_theirs(digest) then
        released = released + 1
    end
end
return released
"""
)

# how many hashes of each kind; horizon, that of given ids, both in milliseconds; since when what
# was not accepted yet counts; the event's digest in each lane, even where it has no lane.
HAS = _build_script(
    _ACCEPTED
    + """
local function is_stored(digest)
    local record = redis.call('HGET', DELIVERIES, digest)
    return record and (ARGV[6] == '-inf' or read_stored_at(record) >= tonumber(ARGV[6]))
end

for i = 7, #ARGV do
    if is_stored(ARGV[i])
            or read_accepted(ARGV[i], tonumber(ARGV[4]), tonumber(ARGV[5])) then
        return 1
    end
end
return 0
""",
    flags="no-writes",
    hashes=_ASK_TWO,
)

# now; then for each key: lane, digest, event digest. The record says when it was first stored.
REVIVE = _build_script(
    """
local revived = 0

local function stored_at(record)
    local at = read_stored_at(record)
    return at > 0 and string.format('%.17g', at) or ARGV[2]
end

for i = 3, #ARGV, 3 do
    local lane, digest = LANES[tonumber(ARGV[i])], ARGV[i + 1]
    local record = redis.call('HGET', DELIVERIES, digest)
    if end_death(lane, digest, ARGV[i + 2]) and record then
        redis.call('HDEL', ATTEMPTS, digest)
        redis.call('ZADD', lane.due, ARGV[2], digest)
        redis.call('ZADD', lane.stored, stored_at(record), digest)
        revived = revived + 1
    end
end
return revived
"""
)

# for each key: lane, digest, event digest.
DROP = _build_script(
    """
local dropped = 0
for i = 2, #ARGV, 3 do
    local lane, digest = LANES[tonumber(ARGV[i])], ARGV[i + 1]
    if end_death(lane, digest, ARGV[i + 2]) then
        delete(digest)
        dropped = dropped + 1
    end
end
return dropped
"""
)

# for each key: lane, digest, event digest. How many waited, how many were dead.
ERASE = _build_script(
    """
local waiting, dead = 0, 0
for i = 2, #ARGV, 3 do
    local lane, digest = LANES[tonumber(ARGV[i])], ARGV[i + 1]
    if end_wait(lane, digest) then
        delete(digest)
        waiting = waiting + 1
    elseif end_death(lane, digest, ARGV[i + 2]) then
        delete(digest)
        dead = dead + 1
    end
end
return {waiting, dead}
"""
)

# now. One row for each lane: waiting, held, dead, the oldest with its time.
COUNT = _build_script(
    """
local answer = {}
for i, lane in ipairs(LANES) do
    answer[i] = {
        redis.call('ZCARD', lane.due),
        redis.call('ZCOUNT', lane.held, '(' .. ARGV[2], '+inf'),
        redis.call('ZCARD', lane.dead),
        redis.call('ZRANGE', lane.stored, 0, 0, 'WITHSCORES'),
    }
end
return answer
""",
    flags="no-writes",
)

# first rank, last rank; of the lane if there is one, otherwise of all.
LIST_DEAD = _build_script(
    """
local from = LANES[1] and LANES[1].dead or DEAD
return dead_letters(redis.call('ZRANGE', from, ARGV[2], ARGV[3], 'REV'))
""",
    flags="no-writes",
)

# event digest, with which the members of one event begin; the last member that could.
FIND_DEAD = _build_script(
    """
local digests = {}
for i, member in ipairs(redis.call('ZRANGE', DEAD_IDS, '[' .. ARGV[2], '[' .. ARGV[3], 'BYLEX')) do
    digests[i] = member:sub(#ARGV[2] + 1)
end
return dead_letters(digests)
""",
    flags="no-writes",
)

# Its one key is that of the circuits. Destination, circuit.
SAVE_CIRCUIT = _build_script("redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])", prelude="")

# Its one key is that of the number of slots. The number, if there is none; returns what there is.
SETTLE_SLOTS = _build_script(
    """
redis.call('SET', KEYS[1], ARGV[2], 'NX')
return redis.call('GET', KEYS[1])
""",
    prelude="",
)

# How many wait or are dead. The server refuses it, as it would a put, if it only reads, has no
# memory left, or lacks the replicas that it wants.
PROBE = _build_script("return redis.call('HLEN', DELIVERIES)", flags="")

# The server's time: seconds, microseconds. A script, so that the node that holds the keys is asked.
TIME = _build_script("return redis.call('TIME')", flags="no-writes", prelude="")

# What the server says of its memory, as text.
MEMORY = _build_script("return redis.call('INFO', 'memory')", flags="no-writes", prelude="")

# Its keys are hashes of delivered keys, those to be spared last. How many to forget. Returns how
# many were forgotten.
FORGET_OLDEST = _build_script(
    """
for _, key in ipairs(KEYS) do
    local digests = redis.call('HRANDFIELD', key, ARGV[2])
    for i = 1, #digests, 1000 do
        redis.call('HDEL', key, unpack(digests, i, math.min(i + 999, #digests)))
    end
    if #digests > 0 then return #digests end
end
return 0
""",
    prelude="",
)

TOKEN_FIELD = b"token"

# Its one key is that of a day. Token, when the key ends; then fields and numbers to add. A repeated
# call adds nothing if the first one did.
ADD_FIGURES = _build_script(
    """
if ARGV[1] == '1' and redis.call('HGET', KEYS[1], 'token') == ARGV[2] then return end
redis.call('HSET', KEYS[1], 'token', ARGV[2])
for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIREAT', KEYS[1], ARGV[3])
""",
    flags="",
    prelude="",
)
