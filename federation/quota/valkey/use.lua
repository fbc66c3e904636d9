-- Remembers a key until a time, and says whether it is the first time. This is
-- Once.Use of package quota, by the clock of the server: what it has forgotten is
-- what it no longer accepts, so no skew between replicas opens a gap.
--
-- KEYS  the key
-- ARGV  when the key expires, in microseconds
-- Gives 1 if the key is fresh, else 0.
local t = redis.call('TIME')
local till = tonumber(ARGV[1])
if till <= tonumber(t[1]) * 1000000 + tonumber(t[2]) then
	return 0
end
if redis.call('SET', KEYS[1], '1', 'NX', 'PXAT', string.format('%.0f', math.ceil(till / 1000))) then
	return 1
end
return 0
