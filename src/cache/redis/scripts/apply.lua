-- Invalidates what the change log names, and moves the watermark, in one step: a reader of the watermark
-- can rely on it (recovery rule 6).
--
-- KEYS: those of fence.lua; the changes invalidated; the namespace's token; for each key that goes stale,
--       its lease and its entry; the marks of groups
-- ARGV: those of fence.lua; the new watermark, or ''; a random token; how many keys and how many clears
--       there are; for each key the position of its change; for each group the position of its change;
--       for each clear its position, and what it is noted as once it is done
-- Answers {the watermark's position, or -1 if this is another data set; the sequence number}. That is
-- looked at here and not before: the watermark must not be moved over what was invalidated in other data.

if is_other_data() then
  return {-1, 0}
end

-- What the watermark has passed is invalidated, and what is remembered to be.
local function is_invalidated(change, note)
  if tonumber(change) < stored then
    return true
  end
  return type(redis.pcall('ZSCORE', KEYS[3], note)) == 'string'
end

local count, clears = tonumber(ARGV[6]), tonumber(ARGV[7])
for i = 1, count do
  local entry = KEYS[4 + 2 * i]
  if not is_invalidated(ARGV[7 + i], ARGV[7 + i] .. ' ' .. entry) then
    redis.call('DEL', KEYS[3 + 2 * i], entry)
  end
end
local groups = #KEYS - 4 - 2 * count
for i = 1, groups do
  local change, mark = ARGV[7 + count + i], KEYS[4 + 2 * count + i]
  if not is_invalidated(change, change .. ' ' .. mark) then
    redis.call('DEL', mark)
  end
end
for i = 1, clears do
  local change, note = ARGV[6 + count + groups + 2 * i], ARGV[7 + count + groups + 2 * i]
  if not is_invalidated(change, note) then
    -- The instance that cleared could not do it here: then everything goes.
    redis.call('SET', KEYS[4], ARGV[5])
  end
  -- Forgotten with the watermark, like the rest.
  redis.pcall('ZADD', KEYS[3], change, note)
end

local number, new = advanced(), position(ARGV[4])
if new and new > stored then
  redis.call('SET', KEYS[2], ARGV[4])
  redis.pcall('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. new)
  return {new, number}
end
return {stored, number}
