"""The scripts that keep the order of rooms in Redis. Each runs as a whole, with nothing in between, on the server that has the room.

A room has these keys (see `redis_keys`); one that is empty does not exist:

    meta      hash: e epoch, o offset of the last message, t its time, u time of the last join or leave, f fence, b bytes in the log,
              x time when the keys' expiry was set, re epoch and rv number of the roster's changes, j number of joins,
              bt, bm tokens of the room's rate and their time
    log       stream of the history: the id is OFFSET-0, the field m has "TIME MESSAGE"
    sizes     list with "TIME BYTES" for each message of the log, because the head of a list is cheaper to look at than that of a stream
    last      "OFFSET TIME MESSAGE", if the mount keeps the latest message
    keys      hash: idempotency key > "EPOCH OFFSET TIME"; keyorder: sorted set of "OWNER\\nKEY" by time
    members   hash: id > "NODE JOIN JSON"; nodes: sorted set of the processes with members here, by the time when these expire
    own:NODE  "LOWEST:NUMBER EPOCH OFFSET;..." of a process's publications that it may still ask again; those below LOWEST are settled

Times are milliseconds since 1970 by the server's clock. Live messages go to the room's channel: "mEPOCH OFFSET TIME MESSAGE", and changes
of the roster "rEPOCH NUMBER JSON".

**The fence.** A failover, or a restart with `appendfsync everysec`, may lose acknowledged messages under the same epoch; the next messages
would get the same offsets again, and members that come back would miss them silently. So each connection has a fence, which is made of the
server's `run_id`, and passes it to every script. If a room was last used behind another fence, it begins a new epoch. `kin` lists the
fences of the other primaries of a cluster that are alive: a room from one of them came with a slot that migrated, and keeps its epoch.
"""

from __future__ import annotations

from hashlib import sha1

from .redis_place_scripts import RELEASE, RESERVE, SHELVE, UNSHELVE

_BEGIN = """
local meta, log, sizes, last, keys, order, members, nodes = unpack(KEYS, 1, 8)
local fence, kin, fresh, ttl, channel, shout = unpack(ARGV, 1, 6)
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function text(number) return string.format('%.0f', number) end
local state = call('HMGET', meta, 'e', 'o', 'f', 'x', 're')
local epoch, offset, roster = state[1], tonumber(state[2] or 0), state[5]
local anew = false -- a key was made, and has no expiry yet
ttl = tonumber(ttl)

if epoch and fence ~= '' and state[3] ~= fence then
    if state[3] and string.find(kin, ' ' .. state[3] .. ' ', 1, true) then
        call('HSET', meta, 'f', fence)
    else
        epoch, offset, roster = fresh, 0, fresh
        call('DEL', log, sizes, last)
        call('HSET', meta, 'e', epoch, 'o', 0, 'f', fence, 'b', 0, 'u', text(now), 're', roster)
    end
end

local function make()
    epoch, offset, roster, anew = fresh, 0, fresh, true
    call('DEL', log, sizes, last)
    call('HSET', meta, 'e', epoch, 'o', 0, 'f', fence, 'b', 0, 'u', text(now), 're', roster)
end

local function keep()
    if ttl > 0 and (anew or now - tonumber(state[4] or 0) > ttl / 4) then
        call('HSET', meta, 'x', text(now))
        for _, key in ipairs({meta, log, sizes, last, keys, order, members, nodes}) do
            call('PEXPIRE', key, text(ttl * 1.25))
        end
    end
end

local function trim(count, age, most, limit)
    local length = call('LLEN', sizes)
    if length == 0 then return 0 end
    local bytes, before, chunk = tonumber(call('HGET', meta, 'b') or 0), length, 1
    repeat
        local dropped, last = 0, chunk
        for _, head in ipairs(call('LRANGE', sizes, 0, chunk - 1)) do
            local time, size = string.match(head, '^(%d+) (%d+)$')
            if length <= count and bytes <= most and (age == 0 or now - time < age) then break end
            length, bytes, dropped = length - 1, bytes - size, dropped + 1
        end
        if dropped > 0 then call('LPOP', sizes, dropped) end
        if before - length > 1 then chunk = 100 end -- most often there is one to drop
    until dropped < last or before - length >= limit
    if length < before then
        call('HSET', meta, 'b', text(bytes))
        if length == 0 then call('DEL', log) else call('XTRIM', log, 'MAXLEN', text(length)) end
    end
    return length
end

local function tell(changes)
    for start = 1, #changes, 500 do
        local some = {unpack(changes, start, math.min(start + 499, #changes))}
        local number = call('HINCRBY', meta, 'rv', #some)
        call(shout, channel, 'r' .. roster .. ' ' .. text(number) .. ' [' .. table.concat(some, ',') .. ']')
    end
end

local function part(changes, id, value)
    call('HDEL', members, id)
    changes[#changes + 1] = '["left",' .. string.match(value, '^%S+ %d+ (.*)$') .. ']'
end

local function sweep()
    local gone, any = {}, false
    for _, node in ipairs(call('ZRANGEBYSCORE', nodes, '-inf', text(now), 'LIMIT', 0, 16)) do
        gone[node], any = true, true
        call('ZREM', nodes, node)
    end
    if any then
        local all, changes = call('HGETALL', members), {}
        for index = 1, #all, 2 do
            if gone[string.match(all[index + 1], '^%S+')] then part(changes, all[index], all[index + 1]) end
        end
        tell(changes)
    end
end

local function enter(changes, node, id, who)
    local known = call('HGET', members, id)
    if known and string.match(known, '^%S+') == node then return end
    if known then part(changes, id, known) end
    call('HSET', members, id, node .. ' ' .. text(call('HINCRBY', meta, 'j', 1)) .. ' ' .. who)
    changes[#changes + 1] = '["joined",' .. who .. ']'
end

local function beat(node, expiry)
    if call('ZADD', nodes, text(now + expiry), node) == 1 then anew = true end
end
"""

PUBLISH = (
    _BEGIN
    + """
local number, lowest, key, owner, message, size = unpack(ARGV, 7, 12)
local count, age, most, latest, rate, burst, keyage, maxkeys, create, everything = unpack(ARGV, 13, 22)
local own = KEYS[9]
lowest, rate, burst, keyage, maxkeys = tonumber(lowest), tonumber(rate), tonumber(burst), tonumber(keyage), tonumber(maxkeys)

-- The number is looked up even if it is asked for the first time: a connection that was cut may still bring commands whose retries on
-- the next connection have been taken.
local floor, asked = string.match(call('GET', own) or '0:', '^(%d+):(.*)$')
lowest = math.max(lowest, tonumber(floor))
local e, o = string.match(';' .. asked, ';' .. number .. ' (%S+) (%d+);')
if e then return {'again', e, o, 0} end
if tonumber(number) < lowest then return {'settled'} end
if key ~= '' then
    local known = call('HGET', keys, key)
    if known then
        local e, o, time = string.match(known, '^(%S+) (%d+) (%d+)$')
        if now - time < keyage then return {'known', e, o, 0} end
    end
end
if not epoch then
    if create ~= '1' then return {'absent'} end
    make()
end
if rate > 0 then
    local bucket = call('HMGET', meta, 'bt', 'bm')
    local tokens = math.min(burst, tonumber(bucket[1] or burst) + (now - tonumber(bucket[2] or now)) * rate / 1000)
    if tokens < 1 then return {'rate', text(math.ceil((1 - tokens) / rate * 1000))} end
    call('HSET', meta, 'bt', tostring(tokens - 1), 'bm', text(now))
end

offset = offset + 1
local place, time = text(offset), text(now)
call('HSET', meta, 'o', place, 't', time)
count, age, most = tonumber(count), tonumber(age), tonumber(most)
if count > 0 then
    if offset == 1 then call('DEL', log, sizes) end
    call('XADD', log, place .. '-0', 'm', time .. ' ' .. message)
    if call('RPUSH', sizes, time .. ' ' .. size) == 1 then anew = true end
    call('HINCRBY', meta, 'b', size)
    trim(count, age, most, 100)
end
if latest == '1' then
    call('SET', last, place .. ' ' .. time .. ' ' .. message, 'KEEPTTL')
    if offset == 1 then anew = true end
end
if key ~= '' then
    for _, old in ipairs(call('ZRANGEBYSCORE', order, '-inf', text(now - keyage), 'LIMIT', 0, 10)) do
        call('ZREM', order, old)
        call('HDEL', keys, string.match(old, '^[^\\n]*\\n(.*)$'))
    end
    if call('HLEN', keys) >= maxkeys then
        -- A publisher that has its share of a full table replaces its own oldest key; any other replaces the oldest of all.
        local all, mine, share = call('ZRANGE', order, 0, -1), {}, math.max(1, math.ceil(maxkeys / 8))
        if owner ~= '' then
            for _, one in ipairs(all) do
                if string.sub(one, 1, #owner + 1) == owner .. '\\n' then mine[#mine + 1] = one end
            end
        end
        local old = #mine >= share and mine[1] or all[1]
        call('ZREM', order, old)
        call('HDEL', keys, string.match(old, '^[^\\n]*\\n(.*)$'))
    end
    if call('HSET', keys, key, epoch .. ' ' .. place .. ' ' .. time) == 1 and call('HLEN', keys) == 1 then anew = true end
    call('ZADD', order, time, owner .. '\\n' .. key)
end
local start = 1
while true do -- they are in the order of their numbers, but for those that were asked again
    local n, stop = string.match(asked, '^(%d+) [^;]*();', start)
    if not n or (tonumber(n) >= lowest and #asked - start < 65536) then break end
    start = stop + 1
end
call('SET', own, text(lowest) .. ':' .. string.sub(asked, start) .. number .. ' ' .. epoch .. ' ' .. place .. ';', 'PX', 120000)
keep()
local live = 'm' .. epoch .. ' ' .. place .. ' ' .. time .. ' ' .. message
call(shout, channel, live)
if everything ~= '' then call('PUBLISH', everything, string.len(channel) .. ' ' .. channel .. live) end
return {'ok', epoch, place, call('HLEN', members)}
"""
)
"""Append a message, and send it to the subscribers. One answer of: ok, again (the number is known), known (the key is), absent, rate,
settled (the number is below all that the process may still ask)."""

_READ = """
local function missed(since, from, count, age, most)
    local length = trim(count, age, most, 100000)
    from = tonumber(from)
    if since ~= epoch or from < offset - length or from > offset then return 1, {} end
    if from == offset then return 0, {} end
    return 0, call('XRANGE', log, text(from + 1), '+')
end
"""

JOIN = (
    _BEGIN
    + _READ
    + """
local node, id, who, expiry, since, from, watch, most_members, count, age, most, latest, create = unpack(ARGV, 7, 19)
if not epoch then
    if create ~= '1' then return {'absent'} end
    make()
end
sweep()
if call('HEXISTS', members, id) == 0 and call('HLEN', members) >= tonumber(most_members) then return {'full'} end
local changes = {}
beat(node, tonumber(expiry))
enter(changes, node, id, who)
tell(changes)
call('HSET', meta, 'u', text(now))
keep()
local gap, messages, newest = 0, {}, ''
if since ~= '' then gap, messages = missed(since, from, tonumber(count), tonumber(age), tonumber(most)) end
if latest == '1' and (since == '' or gap == 1) then newest = call('GET', last) or '' end
local present = watch == '1' and call('HVALS', members) or {}
return {'ok', epoch, text(offset), gap, messages, newest, roster, call('HGET', meta, 'rv') or '0', present}
"""
)
"""A member comes: it is entered, and reads what it missed. One answer of: ok, absent, full."""

DECLARE = (
    _BEGIN
    + """
local node, expiry, whole = unpack(ARGV, 7, 9)
if not epoch then make() end
sweep()
local changes, here = {}, {}
beat(node, tonumber(expiry))
for index = 10, #ARGV, 2 do
    here[ARGV[index]] = true
    if ARGV[index + 1] ~= '' then enter(changes, node, ARGV[index], ARGV[index + 1]) end
end
if whole == '1' then
    local all = call('HGETALL', members)
    for index = 1, #all, 2 do
        if not here[all[index]] and string.match(all[index + 1], '^%S+') == node then part(changes, all[index], all[index + 1]) end
    end
end
tell(changes)
keep()
return {'ok'}
"""
)
"""These are members of a process; with `whole` its only ones. One without its JSON was declared by a command before."""

LEAVE = (
    _BEGIN
    + """
local node, id, empty = unpack(ARGV, 7, 9)
if not epoch then return {'absent'} end
local known, changes = call('HGET', members, id), {}
if known and string.match(known, '^%S+') == node then
    part(changes, id, known)
    tell(changes)
    call('HSET', meta, 'u', text(now))
end
if empty == '1' then call('ZREM', nodes, node) end
keep()
return {'ok'}
"""
)
"""A member goes. `empty`: it was the process's last one here."""

STAND = (
    _BEGIN
    + """
local node, expiry, count, age, most = unpack(ARGV, 7, 11)
if not epoch then return {'absent'} end
local known = 1
if node ~= '' then
    known = call('ZSCORE', nodes, node) and 1 or 0
    if known == 1 then beat(node, tonumber(expiry)) end
    sweep()
    keep()
end
local held = trim(tonumber(count), tonumber(age), tonumber(most), 100000)
local more = call('HMGET', meta, 't', 'rv')
return {'ok', epoch, text(offset), more[1] or '0', roster, more[2] or '0', call('HLEN', members), held, known}
"""
)
"""A room's positions. With a node: its members here live on, if Redis still knows of any."""

HISTORY = (
    _BEGIN
    + """
local count, age, most, latest, since, from, limit, reverse = unpack(ARGV, 7, 14)
if not epoch then return {'absent'} end
local length = trim(tonumber(count), tonumber(age), tonumber(most), 100000)
local first, gap, start = offset - length + 1, 0, nil
if since ~= '' then
    from = tonumber(from)
    if since ~= epoch or from > offset then gap = 1 else start = from end
    if start and reverse == '0' and start + 1 < first then gap, start = 1, nil end
end
local messages
if length == 0 then
    messages = {}
elseif reverse == '1' then
    messages = start == 0 and {} or call('XREVRANGE', log, start and text(start - 1) or '+', '-', 'COUNT', limit)
else
    messages = call('XRANGE', log, start and text(start + 1) or '-', '+', 'COUNT', limit)
end
return {'ok', epoch, text(offset), text(first), gap, messages, latest == '1' and call('GET', last) or ''}
"""
)
"""A part of a room's history."""

ROSTER = (
    _BEGIN
    + """
if not epoch then return {'absent'} end
sweep()
return {'ok', roster, call('HGET', meta, 'rv') or '0', call('HVALS', members)}
"""
)
"""All members of a room."""

FORGET = (
    _BEGIN
    + """
local idle = tonumber(ARGV[7])
if not epoch then return {'gone', '0'} end
sweep()
local times = call('HMGET', meta, 't', 'u')
local used = math.max(tonumber(times[1] or 0), tonumber(times[2] or 0))
if call('HLEN', members) > 0 or now - used < idle then return {'kept', text(used)} end
call('DEL', meta, log, sizes, last, keys, order, members, nodes)
return {'gone', text(used)}
"""
)
"""Forget a room, if it is empty, and unused for that long."""

GUARD = """
local known = redis.call('HMGET', KEYS[1], 'run', 'number')
if known[1] == ARGV[1] then return known[2] .. ':' .. known[1] end
local number = redis.call('HINCRBY', KEYS[1], 'number', 1)
redis.call('HSET', KEYS[1], 'run', ARGV[1])
return tostring(number) .. ':' .. ARGV[1]
"""
"""The fence of a server that stands alone, or behind Sentinel: its `run_id`, with the number of its changes.

The number makes a difference if one server comes to be the primary twice: a room that was not used in between has lost messages too.
"""

PROVE = """
redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
return redis.call(ARGV[3], ARGV[2], ARGV[1])
"""
"""A write, and a message to a channel, for the probe."""

ALL = (PUBLISH, JOIN, DECLARE, LEAVE, STAND, HISTORY, ROSTER, FORGET, RESERVE, RELEASE, GUARD, PROVE, SHELVE, UNSHELVE)

DIGESTS = {script: sha1(script.encode(), usedforsecurity=False).hexdigest() for script in ALL}
"""The names under which EVALSHA finds the scripts."""
