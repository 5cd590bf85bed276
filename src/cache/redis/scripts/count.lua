-- Adds to a counter that is forgotten a while after it left zero, by the clock of Redis: those of the
-- instances may differ.
--
-- KEYS: the counter
-- ARGV: by how much; how long it is remembered in ms
-- Answers its value, and in how many ms it will be forgotten.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local window = tonumber(ARGV[2])
local counter = redis.pcall('HMGET', KEYS[1], 'value', 'till')
-- What is no counter counts as nothing.
local value, till = tonumber(counter[1] or ''), tonumber(counter[2] or '')
if not value or not till or till <= now then
  redis.call('DEL', KEYS[1])
  value, till = 0, now + window
end
-- The clock of Redis may have been set back.
till = math.min(till, now + window)
value = math.max(value + tonumber(ARGV[1]), 0)
if value == 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'value', string.format('%d', value), 'till', string.format('%d', till))
  redis.call('PEXPIRE', KEYS[1], math.max(till - now, 1))
end
return {value, till - now}
