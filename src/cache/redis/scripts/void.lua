-- Invalidates keys for a change that is committed, and writes the new value of the first one through if
-- the writer's token is still valid.
--
-- KEYS: those of fence.lua; the changes invalidated; the lease and the entry of the key written; whatever
--       else goes stale
-- ARGV: those of fence.lua; the change's position, or ''; the token's id, or ''; the entry's life in ms;
--       the entry
-- Answers {1 if the value was written through, 0 if not, -1 if this is another data set; the sequence
-- number}.

-- A lease that is no hash is as good as none.
local lease = ARGV[5] ~= '' and redis.pcall('HMGET', KEYS[4], 'id', 'stamp') or {}
-- Removing is right in any data set.
for i = 4, #KEYS do
  redis.call('DEL', KEYS[i])
end
if is_other_data() then
  return {-1, 0}
end
if ARGV[4] ~= '' then
  -- In the same place as what it is about: a Redis that comes back with old data has forgotten both.
  -- Without the room for it, the change is invalidated once more.
  -- By name too: a transaction may change more than its writer knows of.
  for i = 4, #KEYS do
    redis.pcall('ZADD', KEYS[3], ARGV[4], ARGV[4] .. ' ' .. KEYS[i])
  end
  -- Where a long transaction holds up the watermark the oldest are forgotten.
  redis.pcall('ZREMRANGEBYRANK', KEYS[3], 0, -10001)
end
local number = advanced()
if ARGV[5] == '' or lease[1] ~= ARGV[5] then
  return {0, number}
end
redis.call('SET', KEYS[5], lease[2] .. ARGV[7], 'PX', ARGV[6])
return {1, number}
