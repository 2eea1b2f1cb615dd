-- Sends the bodies of a file, one a line, in its order and over again; prints what happened as JSON.
local requests, index = {}, 0

function init(arguments)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format(nil, nil, nil, body)
  end
end

function request()
  index = index % #requests + 1
  return requests[index]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"seconds": %f, "responses": %d, "p50_ms": %f, "p99_ms": %f, ',
    summary.duration / 1e6, summary.requests, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
  io.write(string.format(
    '"refused": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
