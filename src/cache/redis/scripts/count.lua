-- Adds to a counter that is forgotten a while after it left zero.
--
-- KEYS: the counter
-- ARGV: by how much; the present time, and how long it is remembered, both in ms
-- Answers its value, and when it will be forgotten.

local counter = redis.pcall('HMGET', KEYS[1], 'value', 'till')
local now = tonumber(ARGV[2])
-- What is no counter counts as nothing.
local value, till = tonumber(counter[1] or ''), tonumber(counter[2] or '')
if not value or not till or till <= now then
  redis.call('DEL', KEYS[1])
  value, till = 0, now + tonumber(ARGV[3])
end
value = math.max(value + tonumber(ARGV[1]), 0)
if value == 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'value', string.format('%d', value), 'till', string.format('%d', till))
  redis.call('PEXPIRE', KEYS[1], math.max(till - now, 1))
end
return {value, till}
