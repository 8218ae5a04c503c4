-- arguments: a method, then the paths that are asked for in turn; prints one line of JSON
local requests, number = {}, 0

function init(args)
  local body, headers = nil, {}
  if args[1] == "POST" then
    body, headers = '{"name": "Alice"}', { ["Content-Type"] = "application/json" }
  end
  for index = 2, #args do
    table.insert(requests, wrk.format(args[1], args[index], headers, body))
  end
end

function request()
  number = number % #requests + 1
  return requests[number]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "median_ms": %.3f, "percentile_99_ms": %.3f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
