-- Stores what was loaded under a ticket that is still good.
--
-- KEYS: the key's lease; its entry; the watermark; the marks that make up its stamp
-- ARGV: the ticket's id and order; the entry's life in ms; the entry
-- Answers 1 if it was stored.

local present = tostring(#KEYS - 3)
for i = 4, #KEYS do
  present = present .. (redis.call('MGET', KEYS[i])[1] or '')
end

local lease = redis.pcall('HMGET', KEYS[1], 'id', 'stamp', 'filled')
if lease[1] ~= ARGV[1] or lease[2] ~= present or tonumber(lease[3] or 0) > tonumber(ARGV[2]) then
  return 0
end
-- What is stored may cost Redis what it has used least of late: not this.
redis.call('TOUCH', KEYS[3])
redis.call('SET', KEYS[2], present .. ARGV[4], 'PX', ARGV[3])
redis.call('HSET', KEYS[1], 'filled', ARGV[2])
redis.call('HDEL', KEYS[1], 'loader')
return 1
