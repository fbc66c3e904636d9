-- Counts one event in all windows of its key, or in none. This is Counters.Take of
-- package quota, in microseconds: change both or neither.
--
-- KEYS  the state (a hash) and the runs of the sliding minute (a list of "stamp:n")
-- ARGV  the time, or empty for the server's; when the key expires; then span and
--       limit of each rule, the spans being 1 minute, 2 hour, 3 day
-- Gives {1 if counted, microseconds to wait, events remaining}.
--
-- Nothing is written before everything has been read and decided, and the first
-- write is one that a server without memory refuses: so it is all or nothing.
local state, list = KEYS[1], KEYS[2]
local MINUTE, HOUR, DAY = 60000000, 3600000000, 86400000000
local STEP, RUNS, REFUSED, CHUNK = 60000, 1000, HOUR, 32

local now = tonumber(ARGV[1])
if not now then
	local t = redis.call('TIME')
	now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local till = tonumber(ARGV[2])
if till <= now then
	return {0, REFUSED, 0}
end

-- Lua writes large numbers with an exponent unless told not to.
local function int(n)
	return string.format('%.0f', n)
end

local stored = redis.call('HMGET', state, 'ends', 'minute', 'hour', 'hours', 'day', 'days')
local known = stored[1] and true or false
local live = known and tonumber(stored[1]) > now
local function field(i)
	if not live then
		return 0
	end
	return tonumber(stored[i]) or error('not a state')
end
local ends, used = field(1), field(2)
local hour = {length = HOUR, index = field(3), used = field(4)}
local day = {length = DAY, index = field(5), used = field(6)}
local turned = false

-- turn moves a fixed window on to the one that holds now, never back.
local function turn(w)
	local index = math.floor(now / w.length)
	if w.used == 0 or index > w.index then
		turned = turned or w.used > 0
		w.index, w.used = index, 0
	end
end

local function parse(run)
	local stamp, n = string.match(run, '^(%d+):(%d+)$')
	if not stamp then
		error('not a run')
	end
	return tonumber(stamp), tonumber(n)
end

-- each calls f with the runs from the i-th on until it returns true.
local function each(i, f)
	while live do
		local part = redis.call('LRANGE', list, i, i + CHUNK - 1)
		for _, run in ipairs(part) do
			if f(parse(run)) then
				return
			end
		end
		if #part < CHUNK then
			return
		end
		i = i + CHUNK
	end
end

-- expire finds how many runs are 60 s old or older.
local gone, slid = 0, false
local function expire()
	if slid then
		return
	end
	slid = true
	each(0, function(stamp, n)
		if stamp > now - MINUTE then
			return true
		end
		gone, used = gone + 1, used - n
	end)
end

local function room(span, limit)
	if span == 1 then
		expire()
		if used < limit then
			return limit - used, 0
		end
		local excess, wait = used - limit + 1, MINUTE
		each(gone, function(stamp, n)
			excess = excess - n
			if excess <= 0 then
				wait = stamp + MINUTE - now
				return true
			end
		end)
		return 0, wait
	end
	local w = span == 2 and hour or day
	turn(w)
	return math.max(0, limit - w.used), (w.index + 1) * w.length - now
end

local ok, wait, remaining = true, 0, nil
for i = 3, #ARGV, 2 do
	local span, limit = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
	local left, next_ = 0, REFUSED
	if limit >= 1 and span >= 1 and span <= 3 then
		left, next_ = room(span, limit)
	end
	if left < 1 then
		ok, wait = false, math.max(wait, next_)
	end
	remaining = math.min(remaining or left - 1, left - 1)
end
remaining = math.max(0, remaining or 0)

-- The last run becomes, or is followed by, one that ends with now.
local push, set
local function add()
	local stamp, n = now, 1
	if used > 0 then
		local before, count = parse(redis.call('LINDEX', list, -1) or '')
		stamp = math.max(now, before)
		local many = redis.call('LLEN', list) - gone >= RUNS
		if stamp == before or many and math.floor(stamp / STEP) == math.floor(before / STEP) then
			n, set = count + 1, true
		end
	end
	push, used = int(stamp) .. ':' .. int(n), used + 1
	return stamp + MINUTE
end

if ok then
	local done, last = {}, 0
	for i = 3, #ARGV, 2 do
		local span = tonumber(ARGV[i])
		if not done[span] then
			done[span] = true
			if span == 1 then
				last = math.max(last, add())
			else
				local w = span == 2 and hour or day
				w.used = w.used + 1
				last = math.max(last, (w.index + 1) * w.length)
			end
		end
	end
	ends = math.max(ends, math.min(till, last))
end

if known and not live and not ok then
	redis.call('DEL', state, list)
elseif ok or live and (gone > 0 or turned) then
	redis.call('HSET', state, 'ends', int(ends), 'minute', int(used),
		'hour', int(hour.index), 'hours', int(hour.used), 'day', int(day.index), 'days', int(day.used))
	if not live then
		redis.call('DEL', list)
	elseif gone > 0 then
		redis.call('LTRIM', list, gone, -1)
	end
	if set then
		redis.call('LSET', list, -1, push)
	elseif push then
		redis.call('RPUSH', list, push)
	end
	local at = int(math.ceil(ends / 1000))
	redis.call('PEXPIREAT', state, at)
	redis.call('PEXPIREAT', list, at)
end
return {ok and 1 or 0, wait, remaining}
