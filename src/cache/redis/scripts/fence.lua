-- Begins each script whose sender must know in which data set it runs.
--
-- KEYS: the sequence number of the sender's connection epoch; the watermark
-- ARGV: the replication id; the least position of the watermark, or '' where there need be none; the
--       least sequence number, or '' where nothing is to be checked, as before a recovery

local function position(watermark)
  return tonumber(string.match(watermark or '', '^%d+') or '')
end

-- MGET, where GET would fail on what is no text.
local found = redis.call('MGET', KEYS[1], KEYS[2])
local sequence, stored = tonumber(found[1] or ''), position(found[2])

local function is_other_data()
  if ARGV[3] == '' then
    return false
  end
  if ARGV[2] ~= '' and (not stored or stored < tonumber(ARGV[2])) then
    return true
  end
  if not sequence or sequence < tonumber(ARGV[3]) then
    return true
  end
  local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w*)') or ''
  return history ~= ARGV[1]
end

-- The sequence number after an invalidation. Reads compare it: data from before this invalidation has a
-- lower one. It is never created here, or other data would pass for this.
local function advanced()
  return sequence and redis.call('INCR', KEYS[1]) or 0
end
