-- Notes that a connection epoch is in use, by the clock of Redis, and keeps its sequence number. Removes
-- the numbers of epochs that are not in use any more.
--
-- KEYS: those of fence.lua; the epochs that have a sequence number
-- ARGV: those of fence.lua; after how many ms an epoch is not in use any more; the number of the
--       process's epoch before, or ''
-- Answers {the time in ms, or -1 if this is another data set; the sequence number}.

if is_other_data() then
  return {-1, 0}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local unused = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%d', now - tonumber(ARGV[4])))
-- A user with few rights may not touch a key without a name.
if ARGV[5] ~= '' then
  table.insert(unused, ARGV[5])
end
for _, name in ipairs(unused) do
  redis.call('DEL', name)
  redis.call('ZREM', KEYS[3], name)
end
redis.call('ZADD', KEYS[3], string.format('%d', now), KEYS[1])
-- Last: a recovery that fails here leaves a number that expires.
redis.call('PERSIST', KEYS[1])
return {now, sequence}
