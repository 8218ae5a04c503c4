-- arguments: a method and a path; prints one line of JSON
function init(args)
  wrk.method, wrk.path = args[1], args[2]
  if wrk.method == "POST" then
    wrk.body, wrk.headers["Content-Type"] = '{"name": "Alice"}', "application/json"
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "median_ms": %.3f, "percentile_99_ms": %.3f, '
      .. '"percentile_99_9_ms": %.3f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
