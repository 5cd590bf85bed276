-- A loader has nothing to store: nobody needs to wait for it.
--
-- KEYS: the lease
-- ARGV: the ticket's id and order

local id, loader = unpack(redis.call('HMGET', KEYS[1], 'id', 'loader'))
if id == ARGV[1] and loader == ARGV[2] then
  return redis.call('HDEL', KEYS[1], 'loader')
end
return 0
