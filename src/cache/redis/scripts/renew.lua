-- Keeps a lease for another while.
--
-- KEYS: the lease
-- ARGV: the ticket's id; the lease's life in ms

if redis.call('HGET', KEYS[1], 'id') == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
