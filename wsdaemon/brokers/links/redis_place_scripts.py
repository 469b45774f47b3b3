"""The scripts for what is limited in Redis besides rooms' own content: the places in the index of rooms, and tickets."""

from __future__ import annotations

RESERVE = """
local names, used, owners, owned = unpack(KEYS, 1, 4)
local room, owner, most, share, now = unpack(ARGV, 1, 5)
local call = redis.call
if call('ZSCORE', names, room) then return {'ok'} end
if owner ~= '' and tonumber(call('HGET', owned, owner) or 0) >= tonumber(share) then
    local mine = {}
    for _, one in ipairs(call('ZRANGE', used, 0, 999)) do
        if #mine < 16 and call('HGET', owners, one) == owner then mine[#mine + 1] = one end
    end
    return {'share', mine}
end
if call('ZCARD', names) >= tonumber(most) then return {'full', call('ZRANGE', used, 0, 15)} end
call('ZADD', names, 0, room)
call('ZADD', used, now, room)
if owner ~= '' then
    call('HSET', owners, room, owner)
    call('HINCRBY', owned, owner, 1)
end
return {'ok'}
"""
"""Enter a room into the mount's index, if there is a place. One answer of: ok; share, if its owner has enough, with
the owner's oldest rooms among the oldest thousand; full, with the oldest rooms."""

RELEASE = """
local names, used, owners, owned = unpack(KEYS, 1, 4)
local call = redis.call
for _, room in ipairs(ARGV) do
    call('ZREM', names, room)
    call('ZREM', used, room)
    local owner = call('HGET', owners, room)
    if owner then
        call('HDEL', owners, room)
        if call('HINCRBY', owned, owner, -1) <= 0 then call('HDEL', owned, owner) end
    end
end
return {'ok'}
"""
"""Take rooms out of the index."""

SHELVE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function text(number) return string.format('%.0f', number) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now))
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', KEYS[2], text(now + tonumber(ARGV[3])), ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
"""Keep a ticket. 0 if there are too many."""

UNSHELVE = """
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('GETDEL', KEYS[1])
"""
"""Take a ticket away."""
