-- What the Redis store does on the server: one script for each verb of the contract, each
-- made of what is done first for that verb, of the part before the first heading, of what is done
-- at once for that verb, of the part for all, and of its own section.
--
-- A script runs alone: nothing else is served between its first command and its last. Its
-- clock is the server's, so that the hosts of an application need not agree on the time.
-- Keys beyond KEYS[1] are named in here because only the record says whose it is.
--
-- Where memory is full, Redis refuses a script at its first growing command and at no
-- later one. So what ends something begins with DEL: a full Redis must not keep a thief
-- signed in. What files something begins with SET.
--
-- A reply is one string, which costs client and server less than a list: the outcome, the
-- life that is left, the server's time (0 where that is not worth it), and a word `why:sid` for each
-- session that was found to be over; then a line end, and the record or the tombstone.

local prefix, meta = ARGV[1], ARGV[2]
local clock = redis.call("TIME")
-- The server's time in microseconds, by which moments are told apart, and in milliseconds.
local exact = clock[1] * 1000000 + clock[2]
local now = math.floor(exact / 1000)
local NO_DEADLINE = 9999999999999
local HEAD = '^{"e":"([^"]+)","s":"([^"]*)","x":(%d+),"k":"([^"]*)","b":"([^"]*)"()'
-- The same of a record that says when it was filed.
local FILED_HEAD =
  '^{"e":"([^"]+)","s":"([^"]*)","x":(%d+),"k":"([^"]*)","b":"([^"]*)","f":(%d+)'

local function number(value)
  return string.format("%.0f", value)
end

-- The value says when all of an owner's sessions were ended; with "", when everyone's were.
local function ended_at(owner)
  return meta .. "ended-at:" .. owner
end

-- The moment in such a value, 0 if there is none. What is not one is an error: an end would go unseen.
local function moment_in(text)
  return text and assert(tonumber(string.sub(text, 1, 16)), "a moment cannot be read") or 0
end

local last_ends = {}
-- When all of an owner's sessions were ended last, alone or with everyone's. A record that was
-- filed before is over, whether it has been put away or not.
local function last_end(owner)
  if not last_ends[owner] then
    local hers, all = ended_at(owner), ended_at("")
    if redis.call("EXISTS", hers, all) == 0 then
      return 0
    end
    local found = redis.call("MGET", hers, all)
    last_ends[owner] = math.max(moment_in(found[1]), moment_in(found[2]))
  end
  return last_ends[owner]
end

-- The end of a life as the indexes have it: half a millisecond says that it is the deadline.
local function listed_end(deadline, life)
  return now + life + (life == deadline - now and 0.5 or 0)
end

-- Whether an index is near enough to the truth.
local function is_near(listed, ends, idle)
  return listed and math.abs(ends - listed) <= math.floor(idle / 20) and ends % 1 == listed % 1
end

-- How much longer than the idle time a life may be: a process that lets a session slide again and
-- again does it ahead, for the next of its requests as well (touches.py).
local function ahead(idle)
  return math.floor(idle / 20)
end

-- A slide. What another process has done ahead is not taken back.
local function slide(key, life, idle, deadline)
  local left = redis.call("PTTL", key)
  if left < life or left > math.min(life + ahead(idle), deadline - now) then
    redis.call("PEXPIRE", key, number(life))
  end
end

-- In a Cluster: a slot that is being moved has only a part of its keys here. One that is
-- nowhere then counts as moved, and asking for it ends the script before it writes.
if string.sub(meta, -2) == "}:" then
  redis.call("EXISTS", meta .. "nothing")
end

-- What almost every call needs is done before the rest of the script is even looked at: a
-- record that is there and proved, whose place in the indexes need not change.

-- More than any session has: an answer of that size would keep Redis, and the host that waits
-- for it, from everybody else.
local MOST_BYTES = 16777216

-- What lies under the key of a record. Bytes that are none of ours, "", for a key of another type
-- or of such a size: it is one person's session, so it must not be an error of the script, that
-- may be about others.
local function record_at(key)
  local size = redis.pcall("STRLEN", key)
  if type(size) == "table" and string.find(size.err, "WRONGTYPE", 1, true) then
    return ""
  end
  if type(size) == "number" and size > MOST_BYTES then
    return ""
  end
  return redis.call("GET", key)
end

---- fetch at once
local data = ARGV[4] ~= "" and record_at(KEYS[1])
if data then
  local _, secret, deadline, owner, mark, filed = string.match(data, FILED_HEAD)
  if
    secret == ARGV[4]
    and (mark == "" or ARGV[5] == "" or mark == ARGV[5])
    and tonumber(filed) >= last_end(owner)
  then
    local idle = tonumber(ARGV[6])
    local life = math.min(idle, deadline - now)
    local index = meta .. (owner == "" and "anonymous" or "user:" .. owner)
    local listed = redis.call("ZSCORE", index, ARGV[3])
    if life > 0 and is_near(listed, listed_end(deadline, life), idle) then
      slide(KEYS[1], life, idle, deadline)
      return "found " .. number(life) .. " 0\n" .. data
    end
  end
end

---- replace at once
local present = ARGV[7] ~= "" and redis.pcall("GETRANGE", KEYS[1], 0, 255)
if type(present) == "string" then
  local etag, _, _, was, _, filed = string.match(present, FILED_HEAD)
  local _, _, deadline, owner, _, rest = string.match(ARGV[4], HEAD)
  if etag == ARGV[5] and owner == was and tonumber(filed) >= last_end(owner) then
    local idle = tonumber(ARGV[6])
    local life = math.min(idle, deadline - now)
    local index = meta .. (owner == "" and "anonymous" or "user:" .. owner)
    local listed = redis.call("ZSCORE", index, ARGV[3])
    if life > 0 and is_near(listed, listed_end(deadline, life), idle) then
      local tail = string.match(ARGV[4], '^,"f":%d+()', rest) or rest
      local new = string.sub(ARGV[4], 1, rest - 1) .. ',"f":' .. filed .. string.sub(ARGV[4], tail)
      redis.call("SET", KEYS[1], new, "KEEPTTL")
      slide(KEYS[1], life, idle, deadline)
      return "done " .. number(life) .. " 0\n"
    end
  end
end

---- replace first
-- The ordinary write: the session slid a moment ago, so its life (ARGV[8], as the client knows it) and
-- its place in the indexes stay as they are. Nothing but the etag changes in the head, which comes as
-- it is stored and is ARGV[9] bytes long. Whatever stands against it, the rest of the script says.
if ARGV[8] ~= "" then
  local length, owner = tonumber(ARGV[9]), string.match(ARGV[4], '"k":"([^"]*)"', 93)
  local present = redis.pcall("GETRANGE", KEYS[1], 0, length - 1)
  if
    type(present) == "string"
    and string.sub(present, 7, 22) == ARGV[5]
    and string.sub(present, 23) == string.sub(ARGV[4], 23, length)
    and redis.call("EXISTS", ARGV[2] .. "ended-at:" .. owner, ARGV[2] .. "ended-at:") == 0
  then
    redis.call("SET", KEYS[1], ARGV[4], "KEEPTTL")
    return "done " .. ARGV[8] .. " 0\n"
  end
end

---- for all
-- When a record was filed, by the member that stands behind its head, and what comes after that.
local function filed_in(data, rest)
  local filed, after = string.match(data, '^,"f":(%d+)()', rest)
  return tonumber(filed) or 0, after or rest
end

-- The record with that member.
local function with_filed(data, filed)
  local _, _, _, _, _, rest = string.match(data, HEAD)
  if not rest or filed == 0 then
    return data
  end
  local _, after = filed_in(data, rest)
  return string.sub(data, 1, rest - 1) .. ',"f":' .. number(filed) .. string.sub(data, after)
end

-- How long it is known that a signed-in session has expired, and why.
local EXPIRED_KEPT = 3600000
-- Outlived index entries that one script removes on its way, of each index.
local TIDIED = 4
-- Sessions that one script puts away, of those that an end of all has ended.
local PIECE = 100
-- For so long (ms) the sessions of one user are left to whoever ends them, who tells of each.
local LEFT_ALONE = 10000
-- How long an index outlives its last member, beyond what its entry may lag. Everyone's
-- also tells of expired sessions, so they wait a week for a write or a sweep to ask.
local MINUTE, WEEK = 60000, 604800000
-- `why:sid` for each session that this script found to be over.
local over = {}

local signed_in, anonymous, users = meta .. "signed-in", meta .. "anonymous", meta .. "users"
-- Ends whose sessions are not all put away, by their moment.
local ending = meta .. "ending"

local function of_user(owner)
  return meta .. "user:" .. owner
end

-- The present moment, later than any that was given before: a clock may go back, as at a failover,
-- and what was filed before an end must be told from what was filed after it. Where the last moment
-- is lost, that of the `owner`'s last end is not, or it is given.
local function moment(owner, above)
  local last = tonumber(redis.pcall("GET", meta .. "clock"))
  last = last or owner and last_end(owner) or 0
  local present = math.max(exact, last + 1, (above or 0) + 1)
  redis.call("SET", meta .. "clock", number(present), "PX", WEEK)
  return present
end

-- A remember cookie's record, the index of its owner's, and the name of all that were filed since
-- everyone's were ended: a record is worth something only if it is in the index and bears that name,
-- so that an end is one DEL, and a key that is lost ends what it was about.
local function remember_of(id)
  return meta .. "remember:" .. id
end

local function remembered_of(owner)
  return meta .. "remembered:" .. owner
end

-- Whether such an end of all is known, of that moment or later. What cannot be read must not keep an
-- end from happening.
local function is_known_to_end(owner, past)
  local text = redis.pcall("GET", ended_at(owner))
  return type(text) == "string" and past <= (tonumber(string.sub(text, 1, 16)) or 0)
end

-- No moment as early as that one is given any more.
local function pass_by(past)
  if past > (tonumber(redis.pcall("GET", meta .. "clock")) or 0) then
    redis.call("SET", meta .. "clock", number(past), "PX", WEEK)
  end
end

local remembering = meta .. "remembering"

-- By which a request knows the ends that it made itself: OWN_KEPT of base.py.
local OWN_KEPT = 600000

local function tombstone_of(sid)
  return meta .. "ended:" .. sid
end

-- The head by position. Bytes that are none of ours have an etag and a secret that match
-- nothing: they can be ended, but never slid or written over.
local function head(data)
  local etag, secret, deadline, owner, mark, rest = string.match(data, HEAD)
  local filed, after = filed_in(data, rest or 1)
  return {
    etag = etag,
    secret = secret,
    deadline = tonumber(deadline) or NO_DEADLINE,
    owner = owner or "",
    mark = mark or "",
    filed = filed,
    rest = after,
  }
end

local function proved_by(record, data, secret)
  if record.secret == secret then
    return true
  end
  local previous, rest = string.match(data, '^,"p":"([^"]*)"()', record.rest or 1)
  local ends = previous == secret and string.match(data, '^,"q":(%d+)', rest)
  return previous == secret and (not ends or now < tonumber(ends))
end

local function life_of(record, idle)
  return math.min(idle, record.deadline - now)
end

local function answer(outcome, body, idle_left)
  local line = outcome .. " " .. number(idle_left or 0) .. " " .. number(exact)
  if over[1] then
    line = line .. " " .. table.concat(over, " ")
  end
  return line .. "\n" .. (body or "")
end

local function there(outcome, key, data)
  return answer(outcome, data, redis.call("PTTL", key))
end

local function gone(sid)
  local tombstone = redis.call("GET", tombstone_of(sid))
  if tombstone then
    return answer("ended", tombstone)
  end
  return answer("missing")
end

-- An index must outlive each of its members, and nothing may stay in Redis for ever.
local function outlast(index, moment)
  if redis.call("PTTL", index) < moment - now then
    redis.call("PEXPIREAT", index, number(moment))
  end
end

-- The ends under way, the first one first. `index` names those that it has ended, `others` the
-- anonymous ones among them.
local under_way
-- The first hundred are read; all of them by whoever makes an end, as that is the last one.
local last_under_way = 99
local function endings()
  if under_way then
    return under_way
  end
  local found = {}
  -- Of another type it tells nothing, and what has ended is over all the same.
  for _, text in ipairs(redis.pcall("ZRANGE", ending, 0, last_under_way)) do
    local name, idle, owner, tombstone = string.match(text, "^(%d+)\n(%d+)\n([^\n]*)\n(.*)$")
    local index = meta .. "dead:" .. name
    found[#found + 1] = {
      text = text,
      moment = tonumber(redis.call("ZSCORE", ending, text)),
      idle = tonumber(idle),
      owner = owner,
      tombstone = tombstone,
      index = index,
      others = index .. ":anonymous",
    }
  end
  under_way = found
  return found
end

local function is_over(record)
  return record.filed < last_end(record.owner)
end

-- The user's place among all users: where their last session ends.
local function settle(owner)
  for _ = 1, TIDIED do
    -- Of another type it is that user's trouble, and not that of everybody who tidies up.
    local last = redis.pcall("ZRANGE", of_user(owner), 0, 0, "REV", "WITHSCORES")
    if not last[1] then
      redis.call("ZREM", users, owner)
      return
    end
    local data = redis.call("EXISTS", ending) == 1 and record_at(prefix .. last[1])
    if not data or not is_over(head(data)) then
      redis.call("ZADD", users, last[2], owner)
      return
    end
    redis.call("ZREM", of_user(owner), last[1])
  end
end

-- Enter a session in the indexes with the end of its life, which may lag by so much.
local function enter(sid, owner, ends, lag)
  local everyone = owner == "" and anonymous or signed_in
  local outlived = ends + lag + MINUTE
  redis.call("ZADD", everyone, ends, sid)
  outlast(everyone, ends + lag + WEEK)
  if owner ~= "" then
    redis.call("ZADD", of_user(owner), ends, sid)
    outlast(of_user(owner), outlived)
    settle(owner)
    outlast(users, outlived)
  end
end

-- The same with the life of a record, unless the index is near enough to the truth.
local function list(sid, record, life, idle)
  local index = record.owner == "" and anonymous or of_user(record.owner)
  local ends = listed_end(record.deadline, life)
  if not is_near(redis.call("ZSCORE", index, sid), ends, idle) then
    enter(sid, record.owner, ends, math.floor(idle / 20))
  end
end

local function unlist(sid, owner)
  if owner == "" then
    redis.call("ZREM", anonymous, sid)
  else
    redis.call("ZREM", signed_in, sid)
    redis.pcall("ZREM", of_user(owner), sid)
    settle(owner)
  end
end

-- A session expired, as its entry in an index says, and this is the one to say so; unless it is known
-- already why it is over.
local function expire(index, sid, ends)
  local why = ends % 1 == 0 and "idle" or "absolute"
  redis.call("ZREM", index, sid)
  if redis.call("EXISTS", tombstone_of(sid)) == 1 then
    return
  end
  over[#over + 1] = why .. ":" .. sid
  if string.sub(index, -9) ~= "anonymous" then
    local tombstone = '{"why":"' .. why .. '","at":' .. number(math.floor(ends)) .. "}"
    redis.call("SET", tombstone_of(sid), tombstone, "PX", EXPIRED_KEPT)
  end
end

-- A record was not there: if it is still listed, and nothing ended it, it expired.
local function lapse(sid)
  local indexes = { signed_in, anonymous }
  local known = redis.call("EXISTS", tombstone_of(sid)) == 1
  for _, one in ipairs(endings()) do
    for _, index in ipairs({ one.index, one.others }) do
      -- What an end of all has ended, and somebody has met since, waits until it is counted.
      if known and redis.call("ZSCORE", index, sid) then
        return
      end
      indexes[#indexes + 1] = index
    end
  end
  for _, index in ipairs(indexes) do
    local ends = redis.call("ZSCORE", index, sid)
    if ends then
      expire(index, sid, tonumber(ends))
    end
  end
end

local function end_life(sid, owner)
  redis.call("DEL", prefix .. sid)
  unlist(sid, owner)
end

local function bury(sid, deadline, idle, tombstone)
  local kept = deadline == NO_DEADLINE and idle or deadline - now
  if kept > 0 then
    redis.call("SET", tombstone_of(sid), tombstone, "PX", number(kept))
  end
end

-- A session is over that was filed before an end: why is told by the first end after it. It stays
-- in the index of that end, which is returned, until its turn, when it is counted.
local function fall(sid, record)
  redis.call("DEL", prefix .. sid)
  for _, one in ipairs(endings()) do
    if one.moment >= record.filed and (one.owner == "" or one.owner == record.owner) then
      bury(sid, record.deadline, one.idle, one.tombstone)
      if one.owner == "" and record.owner ~= "" then
        redis.pcall("ZREM", of_user(record.owner), sid)
      end
      return one
    end
  end
  local at = math.floor(last_end(record.owner) / 1000)
  bury(sid, record.deadline, EXPIRED_KEPT, '{"why":"revoked","at":' .. number(at) .. "}")
  unlist(sid, record.owner)
end

-- What lies under a sid and lives: the record, and its head.
local function record_of(sid)
  local data = record_at(prefix .. sid)
  local record = data and head(data)
  if record and is_over(record) then
    fall(sid, record)
    return false
  end
  return data, record
end

-- Put away what an end has ended, so many sessions at most; how many were looked at. Only whoever
-- made that end is told of each.
local function put_away(one, limit, tells)
  local looked_at = 0
  for _, index in ipairs({ one.index, one.others }) do
    local entries = redis.call("ZRANGE", index, 0, limit - looked_at - 1, "WITHSCORES")
    local away = {}
    for i = 1, #entries, 2 do
      local sid = entries[i]
      local data = record_at(prefix .. sid)
      local record = data and head(data)
      if not record or record.filed < one.moment or is_over(record) then
        away[#away + 1] = sid
        local why = record and fall(sid, record)
        -- Whoever met it before has left the tombstone.
        local met = not record and redis.call("GET", tombstone_of(sid)) == one.tombstone
        if met or why and why.text == one.text then
          over[#over + 1] = tells and "ended:" .. sid or nil
        elseif not record then
          expire(index, sid, tonumber(entries[i + 1]))
        end
      else
        -- Filed after that moment, which is past: the end was told late.
        redis.call("ZREM", index, sid)
        local left = redis.call("PTTL", prefix .. sid)
        enter(sid, record.owner, tonumber(entries[i + 1]), math.floor(left / 20))
      end
    end
    if away[1] then
      redis.call("ZREM", index, unpack(away))
      if one.owner ~= "" then
        redis.call("ZREM", signed_in, unpack(away))
      end
    end
    looked_at = looked_at + #entries / 2
    if looked_at >= limit then
      return looked_at
    end
  end
  redis.call("ZREM", ending, one.text)
  under_way = nil
  return looked_at
end

-- Go on with what nobody goes on with.
local function tidy_endings(limit)
  for _, one in ipairs(endings()) do
    if one.owner == "" or exact - one.moment > LEFT_ALONE * 1000 then
      return put_away(one, limit)
    end
  end
  return 0
end

-- End all of an owner's sessions ("": everyone's) but `keep`, by one moment: they are over for every
-- step from here on, and only have to be put away. How many, and the end that they wait for. `past`:
-- the moment of an end that is told late, or again; what was filed since then is listed anew as the
-- others are put away.
local function end_all(owner, tombstone, idle, remember, keep, own, past)
  local read, kept, record = true, false, nil
  if keep ~= "" then
    -- Where it cannot be read whether that one has ended, it ends too.
    read, kept, record = pcall(record_of, keep)
    kept = read and kept
  end
  -- Its sessions may not all be put away. Records outlive an index that is lost, but not the idle
  -- time.
  local before, above = redis.call("PTTL", ended_at(owner)), 0
  -- What cannot be read must not keep an end from happening.
  for _, text in ipairs(redis.call("MGET", ended_at(""), ended_at(owner))) do
    above = math.max(above, text and tonumber(string.sub(text, 1, 16)) or 0)
  end
  redis.call("DEL", ended_at(owner))
  if past then
    pass_by(past)
  end
  local one = { owner = owner, tombstone = tombstone, idle = idle }
  one.moment = past or moment(nil, above)
  local at = number(one.moment)
  if own ~= "" then
    redis.call("SET", meta .. "mark:" .. own, at, "PX", OWN_KEPT)
  end
  local indexes = { owner == "" and signed_in or of_user(owner), owner == "" and anonymous }
  local life, known = 0, math.max(remember, before)
  if owner == "" then
    -- Of an end that is told late nothing else says which remember cookies are over.
    known = math.max(known, redis.call("PTTL", remembering))
  end
  for _, index in ipairs(indexes) do
    local lasts = index and redis.call("PTTL", index) or -2
    life = math.max(life, lasts)
    known = lasts ~= -2 and math.max(known, lasts, idle) or known
  end
  last_ends = {}
  -- The second moment is the clock's, for logins under way: they know no other.
  local clocks = remember > 0 and number(math.min(exact, past or exact)) or "0"
  if known > 0 or past then
    known = math.max(known, idle, OWN_KEPT)
    redis.call("SET", ended_at(owner), at .. " " .. clocks, "PX", number(known))
  end
  one.text = table.concat({ at, number(idle), owner, tombstone }, "\n")
  one.index = meta .. "dead:" .. at
  one.others = one.index .. ":anonymous"
  local number_of = 0
  for i, index in ipairs(indexes) do
    if index then
      number_of = number_of + redis.call("ZCOUNT", index, "(" .. number(now), "+inf")
      if redis.call("EXISTS", index) == 1 then
        redis.call("RENAME", index, i == 1 and one.index or one.others)
      end
    end
  end
  if life > 0 then
    redis.call("ZADD", ending, at, one.text)
    under_way, last_under_way = nil, -1
    outlast(ending, now + life + MINUTE)
  end
  if owner == "" then
    redis.call("UNLINK", users)
  end
  if kept and (owner == "" or record.owner == owner) then
    local left = redis.call("PTTL", prefix .. keep)
    -- After this end alone: an end that was made since then may be told next.
    local filed = past and math.max(record.filed, past + 1) or moment()
    redis.call("SET", prefix .. keep, with_filed(kept, filed), "PX", number(left))
    number_of = number_of
      - redis.call("ZREM", one.index, keep)
      - redis.call("ZREM", one.others, keep)
    redis.pcall("ZREM", of_user(record.owner), keep)
    list(keep, record, left, left)
  end
  if owner ~= "" then
    settle(owner)
  end
  return number_of, one
end

-- Entries whose time has passed by the index: the dead are removed, and the living, who
-- were touched since, are moved to their true time. How many were looked at.
local function tidy(index, limit)
  local due = redis.call("ZRANGEBYSCORE", index, "-inf", now, "LIMIT", 0, limit, "WITHSCORES")
  for i = 1, #due, 2 do
    local sid, left = due[i], redis.call("PTTL", prefix .. due[i])
    if left ~= -2 then
      local found = redis.pcall("GETRANGE", prefix .. sid, 0, 255)
      local record = head(type(found) == "string" and found or "")
      -- A moment passes between setting a life and asking for it, but not within a script.
      local life = math.max(math.min(left, record.deadline - now), 1)
      redis.call("ZADD", index, listed_end(record.deadline, life), sid)
    elseif index == signed_in or index == anonymous then
      expire(index, sid, tonumber(due[i + 1]))
    else
      redis.call("ZREM", index, sid)
    end
  end
  return #due / 2
end

local function tidy_all(limit)
  local most = math.max(tidy(signed_in, limit), tidy(anonymous, limit))
  local due = redis.call("ZRANGEBYSCORE", users, "-inf", now, "LIMIT", 0, limit)
  for _, owner in ipairs(due) do
    if redis.call("TYPE", of_user(owner)).ok == "zset" then
      tidy(of_user(owner), limit)
    end
    settle(owner)
  end
  return math.max(most, #due, tidy_endings(limit))
end

-- Write a record that has life left, and list it. What was there before was `filed` then, and had
-- the owner `was`; else it is filed now.
local function file(sid, data, record, idle, filed, was)
  local life = life_of(record, idle)
  data = with_filed(data, filed or moment(record.owner))
  redis.call("SET", prefix .. sid, data, "PX", number(life))
  if was and was ~= record.owner then
    unlist(sid, was)
  end
  list(sid, record, life, idle)
  tidy_all(TIDIED)
  return answer("done", "", life)
end

-- The record had life left, and the caller gave it none.
local function run_out(sid, record, idle)
  redis.call("DEL", prefix .. sid)
  local index = record.owner == "" and anonymous or signed_in
  expire(index, sid, record.deadline <= now and record.deadline + 0.5 or now)
  unlist(sid, record.owner)
  return gone(sid)
end

-- An owner's live sessions but one or two, as sid and record; what is not live leaves the index.
local function live_of(owner, but, nor)
  local live = {}
  for _, sid in ipairs(redis.call("ZRANGE", of_user(owner), 0, -1)) do
    if sid ~= but and sid ~= nor then
      local data, record = record_of(sid)
      if not data or record.owner ~= owner then
        redis.call("ZREM", of_user(owner), sid)
      else
        live[#live + 1] = { sid = sid, record = record, data = data }
      end
    end
  end
  return live
end

-- The head of a session that is about to go on under another sid, if it has one, the answer if it
-- may not, and its record: it must carry that etag, or with none there must be no record.
local function leaving(sid, etag)
  local present, record = record_of(sid)
  if present then
    return record, record.etag ~= etag and there("conflict", prefix .. sid, present), present
  end
  lapse(sid)
  return false, etag ~= "" and gone(sid)
end

-- When its user signed in, or proved to be the same: not far into the record, and before its data.
local function proved_at(data)
  return string.match(string.sub(data, 1, 320), ',"c":%d+,"a":(%d+)')
end

-- It has gone on. Without a record it stands for itself in its cookie, for the idle time.
local function left(sid, old, idle, tombstone)
  if redis.call("EXISTS", tombstone_of(sid)) == 0 then
    bury(sid, old and old.deadline or NO_DEADLINE, idle, tombstone)
  end
end

-- A remember cookie as it was filed, or nil.
local function recall(id)
  local fields = { "user", "owner", "secret", "mark", "filed", "sid", "begun", "name" }
  local found = redis.call("HMGET", remember_of(id), unpack(fields))
  local cookie = {}
  for i, field in ipairs(fields) do
    cookie[field] = found[i]
  end
  if
    cookie.owner
    and redis.call("ZSCORE", remembered_of(cookie.owner), id)
    and redis.call("GET", remembering) == cookie.name
    and (tonumber(cookie.filed) or 0) >= last_end(cookie.owner)
  then
    return cookie
  end
end

local function forget(id, owner)
  redis.call("DEL", remember_of(id))
  redis.call("ZREM", remembered_of(owner), id)
end

---- create
local sid, data, idle = ARGV[3], ARGV[4], tonumber(ARGV[5])
local present = record_of(sid)
if present then
  return there("conflict", KEYS[1], present)
end
lapse(sid)
if redis.call("EXISTS", tombstone_of(sid)) == 1 then
  return gone(sid)
end
local record, filed = head(data), tonumber(ARGV[6])
if life_of(record, idle) <= 0 then
  return answer("missing")
end
if filed then
  -- It is restored.
  record.filed = filed
  if is_over(record) then
    fall(sid, record)
    return gone(sid)
  end
  pass_by(filed)
end
return file(sid, data, record, idle, filed)

---- fetch
local sid, secret, mark, idle = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local data, record = record_of(sid)
if not data then
  lapse(sid)
  return gone(sid)
end
if secret == "" then
  return there("found", KEYS[1], data)
end
local unbound = mark == "" or record.mark == ""
if not proved_by(record, data, secret) or not (unbound or record.mark == mark) then
  return there("found", KEYS[1], data)
end
local life = life_of(record, idle)
if life <= 0 then
  return run_out(sid, record)
end
slide(KEYS[1], life, idle, record.deadline)
list(sid, record, life, idle)
return answer("found", data, life)

---- replace
local sid, data, etag, idle = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local present, old = record_of(sid)
if not present then
  lapse(sid)
  return gone(sid)
end
local new = head(data)
if old.etag ~= etag then
  return there("conflict", KEYS[1], present)
end
local left = redis.call("PTTL", KEYS[1])
if left > idle and left <= idle + ahead(idle) then
  idle = left
elseif ARGV[7] == "" then
  idle = math.min(idle, left)
end
if life_of(new, idle) <= 0 then
  new.owner = old.owner
  return run_out(sid, new)
end
return file(sid, data, new, idle, old.filed, old.owner)

---- rotate
local sid, new_sid, data, etag = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
-- When the request of a login began, by this server's clock as far as it is known, and how long ago
-- that is.
local idle, tombstone, since, passed = tonumber(ARGV[7]), ARGV[8], string.match(ARGV[9], "^(%d+) (%d+)$")
local most, refuses, evicted = tonumber(ARGV[10]), ARGV[11] ~= "", ARGV[12]
local own = ARGV[13]
-- With "look" nothing is written: whether it would be done. Without a sid nobody goes on: in
-- a Cluster the session that this one follows may lie elsewhere (see "leave").
local remember, begins, instead_of, superseded = ARGV[14], ARGV[15] ~= "", ARGV[16], ARGV[17]
local look = ARGV[18] == "look"
local old, refusal, present = false, nil, nil
if sid ~= "" then
  old, refusal, present = leaving(sid, etag)
  if refusal then
    return refusal
  end
end
local new = head(data)
if since and new.owner ~= "" then
  -- By another clock than it was learnt from it means nothing.
  since = since + passed <= exact and tonumber(since) or 0
  local mine = own ~= "" and tonumber(redis.call("GET", meta .. "mark:" .. own)) or 0
  for i, text in ipairs(redis.call("MGET", ended_at(new.owner), ended_at(""))) do
    local clocks = text and tonumber(string.sub(text, 18)) or 0
    if moment_in(text) > mine and clocks > since then
      if clocks > exact then
        -- The clock was set back since then. To a request that begins from here on it is over.
        local key = i == 1 and ended_at(new.owner) or ended_at("")
        text = string.sub(text, 1, 17) .. number(exact)
        redis.call("SET", key, text, "PX", math.max(1, redis.call("PTTL", key)))
      end
      return answer("refused")
    end
  end
end
-- That id is somebody's, or was.
lapse(new_sid)
if record_of(new_sid) or redis.call("EXISTS", tombstone_of(new_sid)) == 1 then
  return answer("refused")
end
if life_of(new, idle) <= 0 then
  return answer("missing")
end
local cookie = remember ~= "" and recall(remember)
local room, before, before_head = {}, false, nil
if begins then
  if not cookie or cookie.sid ~= instead_of or cookie.owner ~= new.owner then
    return answer("refused")
  end
  before, before_head = record_of(instead_of)
end
if most > 0 and new.owner ~= "" then
  local live = live_of(new.owner, sid, instead_of)
  if refuses and #live >= most then
    return answer("full")
  end
  if look then
    return answer("done")
  end
  for _, one in ipairs(live) do
    one.left = redis.call("PTTL", prefix .. one.sid)
  end
  table.sort(live, function(a, b) return a.left < b.left end)
  for i = 1, #live - most + 1 do
    end_life(live[i].sid, new.owner)
    bury(live[i].sid, live[i].record.deadline, idle, evicted)
    over[#over + 1] = "evicted:" .. live[i].sid
    room[#room + 1] = live[i].data
  end
end
if look then
  return answer("done")
end
if before then
  end_life(instead_of, before_head.owner)
  bury(instead_of, before_head.deadline, idle, superseded)
  over[#over + 1] = "evicted:" .. instead_of
  room[#room + 1] = before
end
if old then
  end_life(sid, old.owner)
end
-- An end that is told late ends what began before it: whoever goes on, or comes with a cookie, began
-- when that did, and who proves to be the same user once more begins now.
local began = begins and tonumber(cookie.filed)
if old and old.owner == new.owner and proved_at(present) == proved_at(data) then
  began = old.filed
end
local filed = file(new_sid, data, new, idle, began)
if sid ~= "" then
  left(sid, old, idle, tombstone)
end
if cookie then
  redis.call("HSET", remember_of(remember), "sid", new_sid, "begun", begins and number(now) or "")
end
return filed .. table.concat(room, "\n")

---- leave
-- The first half of a rotation to another slot.
local sid, etag, idle, tombstone = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local old, refusal = leaving(sid, etag)
if refusal then
  return refusal
end
if old then
  end_life(sid, old.owner)
end
left(sid, old, idle, tombstone)
return answer("done")

---- delete
local sid, tombstone, idle = ARGV[3], ARGV[4], tonumber(ARGV[5])
local present, record = record_of(sid)
if not present then
  lapse(sid)
  return answer("missing")
end
end_life(sid, record.owner)
bury(sid, record.deadline, idle, tombstone)
tidy_all(TIDIED)
return answer("done")

---- end_user
local owner, tombstone, idle = ARGV[3], ARGV[4], tonumber(ARGV[5])
local remember, keep, past = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[9])
if past and is_known_to_end(owner, past) then
  return answer("done")
end
-- Of another type it holds no cookie: each is worth something only by its place in there.
for _, id in ipairs(redis.pcall("ZRANGE", remembered_of(owner), 0, -1)) do
  local filed = past and tonumber(redis.pcall("HGET", remember_of(id), "filed"))
  if not filed or filed < past then
    forget(id, owner)
  end
end
if not past then
  redis.call("DEL", remembered_of(owner))
end
if owner == "" then
  return answer("done") -- nobody's are everyone's
end
local _, one = end_all(owner, tombstone, idle, remember, keep, ARGV[8], past)
local through = put_away(one, PIECE, true) < PIECE
tidy_all(TIDIED)
-- Its moment, in the place of the life that is left.
return answer(through and "done" or "more", "", one.moment)

---- end_everyone
local past = tonumber(ARGV[8])
if not past then
  redis.call("DEL", remembering)
elseif is_known_to_end("", past) then
  return answer("done")
end
local number_of, one =
  end_all("", ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7], past)
-- How many, in the place of the life that is left.
return answer("done", number(one.moment), number_of)

---- put_away
-- Go on with an owner's end, or with everyone's.
local first, others = nil, false
last_under_way = -1
for _, one in ipairs(endings()) do
  if one.owner == ARGV[3] then
    first, others = first or one, first ~= nil
  end
end
local through = not first or put_away(first, PIECE, true) < PIECE
return answer(through and not others and "done" or "more")

---- entries
-- What stands next to a place in the indexes that KEYS are, the nearest first, so many of each: a line
-- with the end and the sid for each entry. Without an owner only what is live by the index.
local owner, limit, newer, ends, sid = ARGV[3], tonumber(ARGV[4]), ARGV[5] ~= "", ARGV[6], ARGV[7]
local range = newer and "ZRANGE" or "ZREVRANGE"
if newer and owner == "" and tonumber(ends) <= now then
  ends, sid = number(now), string.char(255)
end

-- As an index compares them: by their bytes, where `>` goes by the language of the server.
local function is_above(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = string.byte(one, i), string.byte(other, i)
    if a ~= b then
      return a > b
    end
  end
  return #one > #other
end

-- How many entries come before those next to the place. Among those with its end, that is found by
-- halving.
local function rank(index)
  if ends == "" then
    return 0
  end
  local from, to = "(" .. ends, "+inf"
  if newer then
    from, to = "-inf", "(" .. ends
  end
  local low = redis.call("ZCOUNT", index, from, to)
  local high = low + redis.call("ZCOUNT", index, ends, ends)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local one = redis.call(range, index, middle, middle)[1]
    if one == sid or is_above(one, sid) ~= newer then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local lines = {}
for _, index in ipairs(KEYS) do
  local first = rank(index)
  local found = redis.call(range, index, first, first + limit - 1, "WITHSCORES")
  for i = 1, #found, 2 do
    if owner ~= "" or tonumber(found[i + 1]) > now then
      lines[#lines + 1] = found[i + 1] .. " " .. string.gsub(found[i], "\n", "?")
    end
  end
end
return table.concat(lines, "\n")

---- records
-- Of some entries of an index: those whose session lives and is the owner's, if there is one, as sid,
-- record, life that is left, and so on. What is not leaves the owner's index. KEYS are the index, the last
-- ends of the owner's and of everyone's, and the records. Without an owner the last ends of those whose
-- the records are, are read too: only the records say which.
local owner, listed = ARGV[3], {}
for i = 4, #KEYS do
  local sid, data = string.sub(KEYS[i], #prefix + 1), record_at(KEYS[i])
  local record = data and head(data)
  if record and not is_over(record) and (owner == "" or record.owner == owner) then
    listed[#listed + 1] = sid
    listed[#listed + 1] = data
    listed[#listed + 1] = redis.call("PTTL", KEYS[i])
  elseif owner ~= "" then
    redis.call("ZREM", KEYS[1], sid)
  end
end
return listed

---- counts
local live = { signed_in, anonymous, users }
for i, index in ipairs(live) do
  live[i] = redis.call("ZCOUNT", index, "(" .. number(now), "+inf")
end
-- Those of one user that have ended and are not put away are still among everyone's.
local of_all = last_end("")
for _, one in ipairs(endings()) do
  if one.owner ~= "" and one.moment > of_all then
    live[1] = live[1] - redis.call("ZCOUNT", one.index, "(" .. number(now), "+inf")
  end
end
return live

---- ping
-- Whether sessions can be kept here: a look at where records are, and a write among the indexes.
redis.call("EXISTS", KEYS[2])
redis.call("SET", KEYS[1], "1", "PX", 1000)
redis.call("DEL", KEYS[1])
return redis.status_reply("PONG")

---- mark
local life = tonumber(ARGV[3])
if life > 0 then
  redis.call("SET", KEYS[1], number(moment()), "PX", life)
end
return redis.status_reply("OK")

---- remember
local MOST_REMEMBERED = 100
local id, sid, user, secret, mark = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local life = tonumber(ARGV[8])
local data, record = record_of(sid)
local owner = data and record.owner or ""
local given = ARGV[9] == "1" and recall(id)
if owner == "" or life <= 0 or given == nil then
  return answer("missing")
end
-- It ends with an end that is told late as its session does, or, with another life, as before.
local filed = given and tonumber(given.filed) or record.filed
local key, index, ends = remember_of(id), remembered_of(owner), number(now + life)
local name = redis.call("GET", remembering)
if not name then
  name = id
  redis.call("SET", remembering, name, "PX", number(life))
end
redis.call("HSET", key, "user", user, "owner", owner, "secret", secret, "mark", mark)
redis.call("HSET", key, "filed", number(filed), "sid", sid, "begun", "", "name", name)
redis.call("PEXPIRE", key, number(life))
redis.call("ZREMRANGEBYSCORE", index, "-inf", now)
redis.call("ZADD", index, ends, id)
for _, first in ipairs(redis.call("ZRANGE", index, 0, -1 - MOST_REMEMBERED)) do
  forget(first, owner)
end
outlast(index, now + life)
outlast(remembering, now + life)
return answer("done")

---- recall
local id = ARGV[3]
local cookie = recall(id)
if not cookie then
  return false
end
local data = record_of(cookie.sid)
local begun = cookie.begun ~= "" and number(now - cookie.begun) or ""
return {
  cookie.user,
  cookie.owner,
  cookie.secret,
  cookie.mark,
  cookie.filed,
  cookie.sid,
  begun,
  data or "",
  data and number(redis.call("PTTL", prefix .. cookie.sid)) or "0",
}

---- forget
local id = ARGV[3]
local cookie = recall(id)
local owner = redis.call("HGET", KEYS[1], "owner")
if owner then
  forget(id, owner)
end
return cookie and cookie.sid

---- misfits
-- The keys of a session, of its owner and of everyone that are of another type than they should
-- be, for the log: an error says which it met only since Redis 7, and then by a line's number.
local sid, owner = ARGV[3], ARGV[4]
local found = {}
local function look(key, kind)
  local is = redis.call("TYPE", key).ok
  if is ~= "none" and is ~= kind then
    found[#found + 1] = key
  end
end
if sid ~= "" then
  look(prefix .. sid, "string")
  look(tombstone_of(sid), "string")
  if owner == "" then
    owner = head(record_at(prefix .. sid) or "").owner
  end
end
if owner ~= "" then
  look(of_user(owner), "zset")
  look(ended_at(owner), "string")
  look(remembered_of(owner), "zset")
end
for _, index in ipairs({ signed_in, anonymous, users, ending }) do
  look(index, "zset")
end
look(ended_at(""), "string")
look(meta .. "clock", "string")
return found

---- sweep
local limit = tonumber(ARGV[3])
return answer(tidy_all(limit) < limit and "done" or "more")
