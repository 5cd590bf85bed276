-- Makes keys stale, and writes the new value of the first one through if the writer's ticket is
-- still good.
--
-- KEYS: the lease and the entry of the key written; whatever else goes stale
-- ARGV: the ticket's id; the entry's life in ms; the entry
-- Answers 1 if the value was written through.

-- A lease that is no hash is as good as none.
local lease = redis.pcall('HMGET', KEYS[1], 'id', 'stamp')
redis.call('DEL', unpack(KEYS))
if lease[1] ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], lease[2] .. ARGV[3], 'PX', ARGV[2])
return 1
