-- Hands out a ticket for a key, and tells a loader whether another is at it.
--
-- KEYS: the key's lease; its entry; the marks that make up its stamp
-- ARGV: a random text; the lease's life in ms; '1' to load the value;
--       the head of the entry that the loader has seen, or ''
-- Answers {id, order, 1 if another is loading, the stamp}, or nothing if there is an entry that was not
-- seen.

-- How many marks there are comes first, so that a stored entry explains itself.
local stamp = tostring(#KEYS - 2)
for i = 3, #KEYS do
  -- MGET, where GET would fail on what is no text.
  local mark = redis.call('MGET', KEYS[i])[1]
  if not mark then
    -- Never a constant: an evicted mark must not make old entries valid again.
    mark = ARGV[1]
    redis.call('SET', KEYS[i], mark)
  end
  stamp = stamp .. mark
end

if ARGV[3] == '1' then
  local entry = redis.call('MGET', KEYS[2])[1]
  if entry and string.sub(entry, 1, #stamp) == stamp then
    local sealed = string.sub(entry, #stamp + 1)
    if ARGV[4] == '' or string.sub(sealed, 1, #ARGV[4]) ~= ARGV[4] then
      return {}
    end
  end
end

local lease = redis.pcall('HMGET', KEYS[1], 'id', 'stamp')
local id = lease[1]
if lease.err or (id and lease[2] ~= stamp) then
  -- No lease at all, or one from before the namespace was dropped or the group voided.
  redis.call('DEL', KEYS[1])
  id = nil
end
if not id then
  id = ARGV[1]
  redis.call('HSET', KEYS[1], 'id', id, 'stamp', stamp)
end

local order = redis.call('HINCRBY', KEYS[1], 'order', 1)
local awaited = 0
if ARGV[3] == '1' then
  awaited = 1 - redis.call('HSETNX', KEYS[1], 'loader', order)
end
if awaited == 0 then
  -- Those who only wait do not keep a dead loader's lease alive.
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {id, order, awaited, stamp}
