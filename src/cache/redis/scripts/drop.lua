-- Drops the namespace: what carries the former token is no entry any more, however many those are.
--
-- KEYS: those of fence.lua; the changes invalidated; the namespace's token
-- ARGV: those of fence.lua; the new watermark; a random token
-- Answers {1, or -1 if this is another data set; the sequence number}.

if is_other_data() then
  return {-1, 0}
end
-- Positions may come again, in another history of the database.
redis.call('DEL', KEYS[3])
redis.call('SET', KEYS[4], ARGV[5])
redis.call('SET', KEYS[2], ARGV[4])
return {1, advanced()}
