-- wrk asks for one text without pause, and looks at each answer: FILES holds the bodies that are right.
-- wrk … -- TOKEN BODY FILE…
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   wrk.method = "POST"
   wrk.headers["Authorization"] = "Bearer " .. args[1]
   wrk.headers["Content-Type"] = "application/json"
   wrk.body = args[2]
   right, answered, refused, wrong, said = {}, 0, 0, 0, ""
   for number = 3, #args do
      local file = io.open(args[number], "rb")
      right[file:read("*a")] = true
      file:close()
   end
end

function response(status, headers, body)
   if status ~= 200 then
      refused = refused + 1
      said = status .. " " .. body
   elseif right[body] then
      answered = answered + 1
   else
      wrong = wrong + 1
      said = body
   end
end

function done(summary, latency, requests)
   local total = { answered = 0, refused = 0, wrong = 0 }
   local example = ""
   for _, thread in ipairs(threads) do
      for name, value in pairs(total) do
         total[name] = value + thread:get(name)
      end
      if thread:get("said") ~= "" then example = thread:get("said") end
   end
   local errors = summary.errors
   local lost = errors.connect + errors.read + errors.write + errors.timeout
   io.write(string.format("\nFOUND %d %d %d %d %d %d %d %s\n", total.answered, total.refused, total.wrong,
      lost, latency:percentile(50), latency:percentile(99), latency.max, example:gsub("%s+", " ")))
end
