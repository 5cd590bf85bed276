-- Adds to a counter that is forgotten a while after it left zero.
--
-- KEYS: the counter
-- ARGV: by how much; the present time, and how long it is remembered, both in ms
-- Answers its value, and when it will be forgotten.

local value, till = unpack(redis.call('HMGET', KEYS[1], 'value', 'till'))
local now = tonumber(ARGV[2])
if not value or tonumber(till) <= now then
  value = 0
  till = now + tonumber(ARGV[3])
  redis.call('DEL', KEYS[1])
end
value = math.max(tonumber(value) + tonumber(ARGV[1]), 0)
till = tonumber(till)
if value == 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'value', string.format('%d', value), 'till', string.format('%d', till))
  redis.call('PEXPIRE', KEYS[1], math.max(till - now, 1))
end
return {value, till}
