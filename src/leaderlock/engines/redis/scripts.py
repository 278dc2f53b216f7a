"""The scripts that one Redis server runs, each as one step: attempt, renew, resign, look.

The record of an election is a hash that does not expire, so that the server may evict it or forget it
without danger: a missing record is one of a server that we do not know. Its fields:

- ``server``: the run_id of the server process that the record was written in;
- ``token``: the leader's; empty after a resignation, and in a quarantine;
- ``term``, ``lease`` (milliseconds), ``who`` (JSON): the leader's;
- ``until``: the end of the lease or the quarantine, in milliseconds of the server's clock;
- ``events``: 1 if the server tells of keys that expire;
- ``heir``: the ticket of the candidate that tries first; see `leaderlock.engines.leased.turns`.

On the channel, candidates hear of a resignation (``free``), of an election (``elected``, the lease, and
whether to wait by a timer), of the heir (``heir``, and the ticket), and in some cases of each renewal.

Beside it, the *alarm* is a key that expires when the lease ends. It wakes the candidates, and decides
nothing.

A server with an unknown run_id has started anew, or is another one, and may have forgotten a leader.
The first candidate that finds this begins a quarantine of one lease, in which nobody is elected. A
leader that is still alive then is the only one: no other can have been elected within its lease. So its
next renewal restores its record, and it leads on.

The arguments of every script: the channel, the database's number, the caller's token, its lease, its
description, and whether the server tells of keys that expire.
"""

from __future__ import annotations

_PROLOGUE = """
local record, alarm = KEYS[1], KEYS[2]
local channel, database, my_token, my_who, my_events = ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6]
local my_lease = tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local info = redis.call('INFO', 'server')
local server = string.match(info, 'run_id:(%x+)')
if not server then return redis.error_reply('FOREIGN INFO shows no run_id') end

local fields = redis.call('HMGET', record,
                          'server', 'token', 'term', 'lease', 'until', 'events', 'who', 'heir')
if not fields[1] and redis.call('EXISTS', record) == 1 then
  return redis.error_reply('FOREIGN ' .. record)
end
if (redis.call('GET', alarm) or 'leaderlock') ~= 'leaderlock' then
  return redis.error_reply('FOREIGN ' .. alarm)
end
local is_known = fields[1] == server
local token, term, lease = fields[2] or '', tonumber(fields[3]) or 0, tonumber(fields[4]) or 0
local left = (tonumber(fields[5]) or 0) - now

local function text(number) return string.format('%.0f', number) end

-- PEXPIRE comes first in every script that writes: the server allows it when the memory is used up, and
-- it allows every later write of a script that has written.
local function set_alarm(milliseconds)
  if redis.call('PEXPIRE', alarm, text(milliseconds)) == 0 then
    redis.call('SET', alarm, 'leaderlock', 'PX', text(milliseconds))
  end
end

local function write(new_token, new_term, new_lease)
  set_alarm(new_lease)
  redis.call('HSET', record, 'server', server, 'token', new_token, 'term', text(new_term),
             'lease', text(new_lease), 'until', text(now + new_lease))
end

local function write_mine(new_term)
  write(my_token, new_term, my_lease)
  redis.call('HSET', record, 'who', my_who, 'events', my_events)
end

-- Whether the event of an expired key may be missing, or come too late. The server looks for expired
-- keys `hz` times a second, each time at 20 of the keys that can expire. They are too many if a round
-- takes longer than a twentieth of the lease.
local function needs_beats(events, milliseconds)
  local hz = tonumber(string.match(info, '[^_]hz:(%d+)')) or 10
  local pattern = 'db' .. database .. ':keys=%d+,expires=(%d+)'
  local volatile = tonumber(string.match(redis.call('INFO', 'keyspace'), pattern)) or 0
  return events ~= '1' or volatile * 1000 > hz * milliseconds
end
"""

ATTEMPT = (
    _PROLOGUE
    + """
-- Further arguments: the token of a leader that is dead for certain, the greatest term that the
-- candidate has seen, and the server's time that the candidate expects at the latest, or an empty text.
-- Returns: elected, the term, milliseconds to wait at most, the server's time, and whether another
-- one led until now; or, if not elected, whether the candidate must wait by a timer; and the heir.
local dead, seen, expected = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]) or 0
local is_heir = dead ~= '' and token == dead
if not is_known then
  left = math.max(my_lease, lease)
  write('', term, left)
elseif left > lease then  -- the server's clock was set back
  left = lease
  write(token, term, lease)
elseif left <= 0 and token ~= '' and not is_heir and now > expected + my_lease / 10 then
  left = lease            -- the server's clock may have been set forward: the lease may still run
  write(token, term, lease)
end
if is_known and (left <= 0 or is_heir) then
  -- Without the right to do so, this ends here.
  local beats = needs_beats(my_events, my_lease) and 1 or 0
  redis.call('PUBLISH', channel, 'elected:' .. text(my_lease) .. ':' .. beats)
  term = math.max(term + 1, seen + 1, now)
  write_mine(term)
  redis.call('HSET', record, 'heir', '')
  return {1, term, my_lease, now, token ~= '' and 1 or 0, ''}
end
if redis.call('PTTL', alarm) < 0 then set_alarm(left) end
local by_timer = not is_known or token == '' or needs_beats(fields[6], lease)
return {0, term, left, now, by_timer and 1 or 0, fields[8] or ''}
"""
)

OFFER = (
    _PROLOGUE
    + """
-- A further argument: the ticket of a candidate that would be the heir.
if not is_known or token == '' or left <= 0 or (fields[8] or '') ~= '' then return 0 end
set_alarm(math.min(left, lease))
redis.call('HSET', record, 'heir', ARGV[7])
redis.call('PUBLISH', channel, 'heir:' .. ARGV[7])
return 1
"""
)

WITHDRAW = (
    _PROLOGUE
    + """
-- A further argument: the ticket of a candidate that leaves.
if fields[8] ~= ARGV[7] then return 0 end
redis.call('PUBLISH', channel, 'heir:')
redis.call('HSET', record, 'heir', '')
return 1
"""
)

RENEW = (
    _PROLOGUE
    + """
-- A further argument: the caller's term. Returns whether the claim stands.
local my_term = tonumber(ARGV[7])
local is_forgotten = (not is_known or (token == '' and left > 0)) and term <= my_term
if not (is_known and token == my_token) and not is_forgotten then return 0 end
write_mine(my_term)
if needs_beats(my_events, my_lease) then redis.call('PUBLISH', channel, ARGV[4]) end
return 1
"""
)

RESIGN = (
    _PROLOGUE
    + """
if not is_known or token ~= my_token then return 0 end
redis.call('PUBLISH', channel, 'free')
redis.call('DEL', alarm)
redis.call('HSET', record, 'token', '', 'until', '0')
return 1
"""
)

LOOK = (
    _PROLOGUE
    + """
-- Returns: the term, whether somebody leads, the milliseconds left, who leads, and the number of
-- waiting candidates.
local leads = token ~= '' and left > 0
return {term, leads and 1 or 0, left, fields[7] or '', redis.call('PUBSUB', 'NUMSUB', channel)[2]}
"""
)
