-- What the Redis store does on the server: one script for each verb of the contract, each
-- made of the part before the first heading and of its own section.
--
-- A script runs alone: nothing else is served between its first command and its last. Its
-- clock is the server's, so that the hosts of an application need not agree on the time.
-- Keys beyond KEYS[1] are named in here because only the record says whose it is.
--
-- Where memory is full, Redis refuses a script at its first growing command and at no
-- later one. So what ends something begins with DEL: a full Redis must not keep a thief
-- signed in. What files something begins with SET.

local prefix, house = ARGV[1], ARGV[2]
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local NO_DEADLINE = 9999999999999
-- Outlived index entries that one script removes on its way, of each index.
local TIDIED = 4
-- How long an index outlives its last member, beyond what its entry may lag. Everyone's
-- also tells of expired sessions, so they wait a week for a write or a sweep to ask.
local MINUTE, WEEK = 60000, 604800000
local expired = {}

local signed_in, anonymous, users = house .. "signed-in", house .. "anonymous", house .. "users"

local function of_user(owner)
  return house .. "user:" .. owner
end

local function ended_at(owner)
  return house .. "ended-at:" .. owner
end

local function tombstone_of(sid)
  return house .. "ended:" .. sid
end

local HEAD = '^{"e":"(%x+)","s":"([^"]*)","x":(%d+),"k":"([^"]*)","b":"([^"]*)"'

-- The head by position. Bytes that are none of ours have an etag and a secret that match
-- nothing: they can be ended, but never slid or written over.
local function head(data)
  local etag, secret, deadline, owner, mark = string.match(data, HEAD)
  return {
    etag = etag,
    secret = secret,
    deadline = tonumber(deadline) or NO_DEADLINE,
    owner = owner or "",
    mark = mark or "",
  }
end

local function life_of(record, idle)
  return math.min(idle, record.deadline - now)
end

local function answer(outcome, data, idle_left, tombstone)
  return { outcome, data or "", idle_left or 0, tombstone or "", expired }
end

local function there(outcome, key, data)
  return answer(outcome, data, redis.call("PTTL", key))
end

local function gone(sid)
  local tombstone = redis.call("GET", tombstone_of(sid))
  if tombstone then
    return answer("ended", "", 0, tombstone)
  end
  return answer("missing")
end

-- An index must outlive each of its members, and nothing may stay in Redis for ever.
local function outlast(index, moment)
  if redis.call("PTTL", index) < moment - now then
    redis.call("PEXPIREAT", index, moment)
  end
end

-- The user's place among all users: where their last session ends.
local function settle(owner)
  local last = redis.call("ZRANGE", of_user(owner), 0, 0, "REV", "WITHSCORES")
  if last[1] then
    redis.call("ZADD", users, last[2], owner)
  else
    redis.call("ZREM", users, owner)
  end
end

-- List a record with the end of its life, unless the index is near enough to the truth.
local function list(sid, owner, life, idle)
  local ends, lag = now + life, math.floor(idle / 20)
  local everyone = owner == "" and anonymous or signed_in
  local index = owner == "" and anonymous or of_user(owner)
  local listed = redis.call("ZSCORE", index, sid)
  if listed and math.abs(ends - listed) <= lag then
    return
  end
  local outlived = ends + lag + MINUTE
  redis.call("ZADD", everyone, ends, sid)
  outlast(everyone, ends + lag + WEEK)
  if owner ~= "" then
    redis.call("ZADD", index, ends, sid)
    outlast(index, outlived)
    settle(owner)
    outlast(users, outlived)
  end
end

local function unlist(sid, owner)
  if owner == "" then
    redis.call("ZREM", anonymous, sid)
  else
    redis.call("ZREM", signed_in, sid)
    redis.call("ZREM", of_user(owner), sid)
    settle(owner)
  end
end

-- A record was not there: if it is still listed, it expired, and this is the one to say so.
local function lapse(sid)
  if redis.call("ZREM", signed_in, sid) + redis.call("ZREM", anonymous, sid) > 0 then
    expired[#expired + 1] = sid
  end
end

local function end_life(sid, owner)
  redis.call("DEL", prefix .. sid)
  unlist(sid, owner)
end

local function bury(sid, deadline, idle, tombstone)
  local kept = deadline == NO_DEADLINE and idle or deadline - now
  if kept > 0 then
    redis.call("SET", tombstone_of(sid), tombstone, "PX", kept)
  end
end

-- Entries whose time has passed by the index: the dead are removed, and the living, who
-- were touched since, are moved to their true time. How many were looked at.
local function tidy(index, limit, found)
  local due = redis.call("ZRANGEBYSCORE", index, "-inf", now, "LIMIT", 0, limit)
  for _, sid in ipairs(due) do
    local left = redis.call("PTTL", prefix .. sid)
    if left == -2 then
      redis.call("ZREM", index, sid)
      if found then
        found[#found + 1] = sid
      end
    else
      redis.call("ZADD", index, now + math.max(left, 1), sid)
    end
  end
  return #due
end

local function tidy_all(limit)
  local most = math.max(tidy(signed_in, limit, expired), tidy(anonymous, limit, expired))
  local due = redis.call("ZRANGEBYSCORE", users, "-inf", now, "LIMIT", 0, limit)
  for _, owner in ipairs(due) do
    tidy(of_user(owner), limit)
    settle(owner)
  end
  return math.max(most, #due)
end

-- Write a record that has life left, and list it; `was` is who owned it before, if it was.
local function file(sid, data, record, idle, was)
  local life = life_of(record, idle)
  redis.call("SET", prefix .. sid, data, "PX", life)
  if not was then
    lapse(sid)
  elseif was ~= record.owner then
    unlist(sid, was)
  end
  list(sid, record.owner, life, idle)
  tidy_all(TIDIED)
  return answer("done", "", life)
end

-- The record had life left, and the caller gave it none.
local function run_out(sid, owner)
  end_life(sid, owner)
  expired[#expired + 1] = sid
  return answer("missing")
end

-- Live records of a list of sids: sid, data, idle left, and so on.
local function with_records(sids)
  local listed = {}
  for _, sid in ipairs(sids) do
    local data = redis.call("GET", prefix .. sid)
    if data then
      listed[#listed + 1] = sid
      listed[#listed + 1] = data
      listed[#listed + 1] = redis.call("PTTL", prefix .. sid)
    end
  end
  return listed
end

---- create
local sid, data, idle = ARGV[3], ARGV[4], tonumber(ARGV[5])
local present = redis.call("GET", KEYS[1])
if present then
  return there("conflict", KEYS[1], present)
end
if redis.call("EXISTS", tombstone_of(sid)) == 1 then
  return gone(sid)
end
local record = head(data)
if life_of(record, idle) <= 0 then
  return answer("missing")
end
return file(sid, data, record, idle)

---- fetch
local sid, secret, mark, idle = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local data = redis.call("GET", KEYS[1])
if not data then
  lapse(sid)
  return gone(sid)
end
if secret == "" then
  return there("found", KEYS[1], data)
end
local record = head(data)
if record.secret ~= secret or (mark ~= "" and record.mark ~= "" and record.mark ~= mark) then
  return there("found", KEYS[1], data)
end
local life = life_of(record, idle)
if life <= 0 then
  return run_out(sid, record.owner)
end
redis.call("PEXPIRE", KEYS[1], life)
list(sid, record.owner, life, idle)
return answer("found", data, life)

---- replace
local sid, data, etag, idle = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local present = redis.call("GET", KEYS[1])
if not present then
  lapse(sid)
  return gone(sid)
end
local old, new = head(present), head(data)
if old.etag ~= etag then
  return there("conflict", KEYS[1], present)
end
if ARGV[7] == "" then
  idle = math.min(idle, redis.call("PTTL", KEYS[1]))
end
if life_of(new, idle) <= 0 then
  return run_out(sid, old.owner)
end
return file(sid, data, new, idle, old.owner)

---- rotate
local sid, new_sid, data, etag = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local idle, tombstone, waited = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
local present = redis.call("GET", KEYS[1])
local old, new = present and head(present), head(data)
if present and old.etag ~= etag then
  return there("conflict", KEYS[1], present)
end
if not present and etag ~= "" then
  lapse(sid)
  return gone(sid)
end
if waited > 0 and new.owner ~= "" then
  local at = redis.call("GET", ended_at(new.owner))
  if at and tonumber(at) >= now - waited then
    return answer("refused")
  end
end
-- That id is somebody's, or was.
if redis.call("EXISTS", prefix .. new_sid, tombstone_of(new_sid)) > 0 then
  return answer("refused")
end
if life_of(new, idle) <= 0 then
  return answer("missing")
end
if present then
  end_life(sid, old.owner)
end
local filed = file(new_sid, data, new, idle)
if redis.call("EXISTS", tombstone_of(sid)) == 0 then
  bury(sid, (old or new).deadline, idle, tombstone)
end
return filed

---- delete
local sid, tombstone, idle = ARGV[3], ARGV[4], tonumber(ARGV[5])
local present = redis.call("GET", KEYS[1])
if not present then
  lapse(sid)
  return { 0, expired }
end
local record = head(present)
end_life(sid, record.owner)
bury(sid, record.deadline, idle, tombstone)
tidy_all(TIDIED)
return { 1, expired }

---- end_user
local owner, tombstone, idle = ARGV[3], ARGV[4], tonumber(ARGV[5])
local remember, keep = tonumber(ARGV[6]), ARGV[7]
redis.call("DEL", ended_at(owner))
if remember > 0 then
  redis.call("SET", ended_at(owner), now, "PX", remember)
end
local ended = {}
for _, sid in ipairs(redis.call("ZRANGE", of_user(owner), 0, -1)) do
  local data = redis.call("GET", prefix .. sid)
  local record = data and head(data)
  if not data or record.owner ~= owner then
    redis.call("ZREM", of_user(owner), sid)
  elseif sid ~= keep then
    redis.call("DEL", prefix .. sid)
    redis.call("ZREM", of_user(owner), sid)
    redis.call("ZREM", signed_in, sid)
    bury(sid, record.deadline, idle, tombstone)
    ended[#ended + 1] = sid
  end
end
settle(owner)
tidy_all(TIDIED)
return { ended, expired }

---- sessions_of
local owner = ARGV[3]
return with_records(redis.call("ZRANGE", of_user(owner), 0, -1, "REV"))

---- page
local offset, limit = tonumber(ARGV[3]), tonumber(ARGV[4])

local function ends(index, rank)
  return tonumber(redis.call("ZRANGE", index, rank, rank, "REV", "WITHSCORES")[2])
end

-- How many of the first `offset` entries of both indexes together are signed in, found by
-- halving: a late page costs as little as the first.
local function signed_in_before()
  local low = math.max(0, offset - redis.call("ZCARD", anonymous))
  local high = math.min(offset, redis.call("ZCARD", signed_in))
  while low < high do
    local middle = math.floor((low + high) / 2)
    if ends(signed_in, middle) >= ends(anonymous, offset - middle - 1) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local first = signed_in_before()
local function from(index, rank)
  return redis.call("ZRANGE", index, rank, rank + limit - 1, "REV", "WITHSCORES")
end
local these, those = from(signed_in, first), from(anonymous, offset - first)
local sids, i, j = {}, 1, 1
while #sids < limit and (these[i] or those[j]) do
  if not those[j] or these[i] and tonumber(these[i + 1]) >= tonumber(those[j + 1]) then
    sids[#sids + 1], i = these[i], i + 2
  else
    sids[#sids + 1], j = those[j], j + 2
  end
end
return with_records(sids)

---- counts
local live = { signed_in, anonymous, users }
for i, index in ipairs(live) do
  live[i] = redis.call("ZCOUNT", index, "(" .. string.format("%.0f", now), "+inf")
end
return live

---- mark
local life = tonumber(ARGV[3])
if life > 0 then
  redis.call("SET", KEYS[1], now, "PX", life)
end
return redis.status_reply("OK")

---- marked
return redis.call("MGET", KEYS[1], ended_at(ARGV[3]))

---- sweep
local limit = tonumber(ARGV[3])
local looked_at = tidy_all(limit)
return { looked_at < limit and 1 or 0, expired }
