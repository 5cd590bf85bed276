-- Invalidates what the change log names, and moves the watermark, in one step: a reader of the watermark
-- can rely on it (recovery rule 6).
--
-- KEYS: those of fence.lua; the changes invalidated; for each key that goes stale, its lease and its
--       entry; the marks of groups
-- ARGV: those of fence.lua; the new watermark, or ''; how many keys there are; for each key the position
--       of its change; for each group the position of its change
-- Answers {the watermark's position, or -1 if this is another data set; the sequence number}. That is
-- looked at here and not before: the watermark must not be moved over what was invalidated in other data.

if is_other_data() then
  return {-1, 0}
end

-- What the watermark has passed is invalidated, and what is remembered to be.
local function is_invalidated(change, name)
  if tonumber(change) < stored then
    return true
  end
  return type(redis.pcall('ZSCORE', KEYS[3], change .. ' ' .. name)) == 'string'
end

local count = tonumber(ARGV[5])
for i = 1, count do
  if not is_invalidated(ARGV[5 + i], KEYS[3 + 2 * i]) then
    redis.call('DEL', KEYS[2 + 2 * i], KEYS[3 + 2 * i])
  end
end
for i = 1, #KEYS - 3 - 2 * count do
  if not is_invalidated(ARGV[5 + count + i], KEYS[3 + 2 * count + i]) then
    redis.call('DEL', KEYS[3 + 2 * count + i])
  end
end

local number, new = advanced(), position(ARGV[4])
if new and new > stored then
  redis.call('SET', KEYS[2], ARGV[4])
  redis.pcall('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. new)
  return {new, number}
end
return {stored, number}
