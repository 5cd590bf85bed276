-- Makes keys stale for a change that is committed, and writes the new value of the first one through
-- if the writer's ticket is still good.
--
-- KEYS: the changes voided; the lease and the entry of the key written; whatever else goes stale
-- ARGV: the change's position, or ''; the ticket's id, or ''; the entry's life in ms; the entry
-- Answers 1 if the value was written through.

-- A lease that is no hash is as good as none.
local lease = ARGV[2] ~= '' and redis.pcall('HMGET', KEYS[2], 'id', 'stamp') or {}
redis.call('DEL', unpack(KEYS, 2))
if ARGV[1] ~= '' then
  -- In the same place as what it is about: a Redis that comes back with old data has forgotten both.
  -- Without the room for it, the change is voided once more.
  -- By name too: a transaction may change more than its writer knows of.
  for i = 2, #KEYS do
    redis.pcall('ZADD', KEYS[1], ARGV[1], ARGV[1] .. ' ' .. KEYS[i])
  end
  -- Where a long transaction holds up the watermark the oldest are forgotten.
  redis.pcall('ZREMRANGEBYRANK', KEYS[1], 0, -10001)
end
if ARGV[2] == '' or lease[1] ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[3], lease[2] .. ARGV[4], 'PX', ARGV[3])
return 1
