-- One step through what is stored, which is known to be in the data set that the sender knows.
--
-- KEYS: those of fence.lua
-- ARGV: those of fence.lua; the cursor; what names match; how many to look at
-- Answers {where the next step begins, names}, or nothing if this is another data set.

if is_other_data() then
  return {}
end
return redis.call('SCAN', ARGV[4], 'MATCH', ARGV[5], 'COUNT', ARGV[6])
