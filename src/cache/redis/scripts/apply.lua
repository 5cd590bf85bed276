-- Makes stale what the change log tells of, and moves the watermark, in one step: whoever reads the
-- watermark can rely on it (recovery rule 6).
--
-- KEYS: the watermark; the changes voided; for each key that goes stale, its lease and its entry; the
--       marks of groups
-- ARGV: the least that the watermark must be; the name of the data's history; the new watermark, or
--       ''; how many keys there are; for each key the position of its change; for each group the
--       position of its change
-- Answers the watermark's position, or -1 if this is not the Redis that it was: the watermark is
-- missing or behind, or the history is another. That is looked at here and not before: the watermark
-- must not be moved over what was voided in other data.

local function position(watermark)
  return tonumber(string.match(watermark or '', '^%d+') or '')
end

-- MGET, where GET would fail on what is no text.
local stored = position(redis.call('MGET', KEYS[1])[1])
if not stored or stored < tonumber(ARGV[1]) then
  return -1
end
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w*)') or ''
if history ~= ARGV[2] then
  return -1
end

-- What the watermark has passed is voided, and what is remembered to be.
local function is_voided(change, name)
  if tonumber(change) < stored then
    return true
  end
  return type(redis.pcall('ZSCORE', KEYS[2], change .. ' ' .. name)) == 'string'
end

local count = tonumber(ARGV[4])
for i = 1, count do
  if not is_voided(ARGV[4 + i], KEYS[2 + 2 * i]) then
    redis.call('DEL', KEYS[1 + 2 * i], KEYS[2 + 2 * i])
  end
end
for i = 1, #KEYS - 2 - 2 * count do
  if not is_voided(ARGV[4 + count + i], KEYS[2 + 2 * count + i]) then
    redis.call('DEL', KEYS[2 + 2 * count + i])
  end
end

local new = position(ARGV[3])
if new and new > stored then
  redis.call('SET', KEYS[1], ARGV[3])
  redis.pcall('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. new)
  return new
end
return stored
