-- Makes keys stale, and writes the new value of the first one through if the writer's ticket is
-- still good.
--
-- KEYS: the lease and the entry of the key written; whatever else goes stale
-- ARGV: the ticket's id; the entry's life in ms; the entry

local id, stamp = unpack(redis.call('HMGET', KEYS[1], 'id', 'stamp'))
redis.call('DEL', unpack(KEYS))
if id == ARGV[1] then
  redis.call('SET', KEYS[2], stamp .. ARGV[3], 'PX', ARGV[2])
end
return 1
