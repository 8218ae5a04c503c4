"use strict";

const EVERY = 1000; // milliseconds between two looks
const WINDOW = 300; // seconds that the curves cover
const SMOOTH = 5; // seconds that one point of a curve sums up

// without the name and password that the page's own address may have
const source = new URL(document.getElementById("pools").dataset.source, location.origin);
const pools = new Map(); // name -> { section, history }
let paused = false;
let answered = null;

async function look() {
  if (!paused) {
    try {
      const response = await fetch(source, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      show(await response.json());
      answered = new Date();
      pulse(`As of ${clock(answered)}, read every second.`);
    } catch (error) {
      const since = answered ? `No answer since ${clock(answered)}` : "No answer yet";
      pulse(`${since} (${error.message}). Still trying.`, true);
    }
  }
  setTimeout(look, EVERY);
}

function pulse(text, late = false) {
  const element = document.getElementById("pulse");
  element.textContent = text;
  element.classList.toggle("late", late);
}

const queue = []; // history of the queue, one point for each answer

// how long requests wait in front of the application, how many were refused, and since when
function showQueue(data) {
  const section = document.getElementById("queue");
  const last = queue.at(-1);
  const all = (point) => point.time_spent.counts.at(-1);
  if (last && (data.queue.time.counts.at(-1) < all(last) || (!data.all_workers && data.pid !== last.pid)))
    queue.length = 0;
  while (queue.length && queue[0].time < data.time - WINDOW) queue.shift();
  const before = queue.findLast((point) => point.time <= data.time - SMOOTH) ?? queue[0];
  const point = { time: data.time, pid: data.pid, time_spent: data.queue.time, refused: data.queue.refused };
  point.now = before ? summary(before.time_spent, data.queue.time, data.bounds) : null;
  const rate = (count) => (before ? (count(point) - count(before)) / (point.time - before.time) : null);
  point.shed = rate((each) => each.refused);
  point.served = before ? rate(all) - point.shed : null;
  queue.push(point);
  const mean = queue.map((point) => [point.time, point.now?.mean ?? null]);
  const p95 = queue.map((point) => [point.time, point.now?.p95 ?? null]);
  const text = spreadText(queue.at(-1).now, p95);
  setText(section.querySelector('[data-field="queue_time"]'), text);
  drawChart(section, "queue_time", { mean, p95 }, seconds, 0.0001, text);
  const used = queue.map((each) => [each.time, each.served]);
  const waiting = queue.map((each) => [each.time, each.shed]);
  const rates = before ? `${point.served.toFixed(0)} served, ${point.shed.toFixed(0)} refused` : "";
  setText(section.querySelector('[data-field="queue_rate"]'), rates);
  drawChart(section, "queue_rate", { used, waiting }, (value) => Number(value.toPrecision(3)), 1, rates);
  const { refused, since } = data.queue;
  const recently = refused - queue[0].refused;
  const advice = section.querySelector(".advice");
  advice.className = `advice ${since || recently ? "error" : ""}`;
  const counted = `${plural(refused, "request")} refused since the start`;
  setText(advice, since
    ? `Overloaded since ${clock(new Date(since * 1000))}: requests that wait too long get 503. ${counted}, ${recently} in the last minutes. Add workers or instances, or make views faster.`
    : `${counted}${recently ? `, ${recently} in the last minutes` : ""}.`);
}

function spreadText(now, p95) {
  const highest = Math.max(0, ...p95.map(([, value]) => value ?? 0));
  return now
    ? `now ${seconds(now.mean)} on average, 95 % below ${seconds(now.p95)}; highest ${seconds(highest)}`
    : "nothing to measure in the last seconds";
}

function show(data) {
  showQueue(data);
  for (const pool of data.pools) {
    if (!pools.has(pool.name)) pools.set(pool.name, { section: addSection(), history: [] });
    const { section, history } = pools.get(pool.name);
    remember(history, data, pool);
    const put = (name, value) => setText(section.querySelector(`[data-field="${name}"]`), value);
    for (const name of ["name", "database", "checkedout", "checkedin", "overflow", "capacity", "waiting"])
      put(name, pool[name]);
    drawNow(section, pool);
    drawCurves(section, history, put);
    listWorkers(section, data, pool);
    listRoutes(section, history);
    tellTotals(put, data, pool);
    tellBudget(section, put, pool);
    const [level, sentence] = advise(pool, history);
    section.querySelector(".advice").className = `advice ${level}`;
    put("advice", sentence);
  }
}

function addSection() {
  const parent = document.getElementById("pools");
  parent.append(document.getElementById("pool").content.cloneNode(true));
  return parent.lastElementChild;
}

// one point of history for each answer, with what happened in the seconds before it
function remember(history, data, pool) {
  const last = history.at(-1);
  const restarted = last && pool.checkouts < last.pool.checkouts;
  const otherWorker = last && !data.all_workers && data.pid !== last.pid;
  if (restarted || otherWorker) history.length = 0;
  while (history.length && history[0].time < data.time - WINDOW) history.shift();
  const before = history.findLast((point) => point.time <= data.time - SMOOTH) ?? history[0];
  const point = { time: data.time, pid: data.pid, pool, since: before?.time, routes: before?.pool.routes };
  for (const times of ["wait_time", "use_time"])
    point[times] = before ? summary(before.pool[times], pool[times], data.bounds) : null;
  history.push(point);
}

// mean and 95th percentile of what two readings of a histogram have between them
function summary(before, after, bounds) {
  const counts = after.counts.map((count, i) => count - before.counts[i]);
  const all = counts.at(-1);
  if (all <= 0) return null;
  const wanted = 0.95 * all;
  const i = counts.findIndex((count) => count >= wanted);
  const below = i ? counts[i - 1] : 0;
  const from = i ? bounds[i - 1] : 0;
  const to = bounds[i] ?? bounds.at(-1);
  const p95 = from + (to - from) * ((wanted - below) / (counts[i] - below));
  return { mean: Math.max(0, after.sum - before.sum) / all, p95, all };
}

function advise(pool, history) {
  const now = history.at(-1);
  const first = history[0].pool;
  const since = (count) => count(pool) - count(first);
  const timeouts = since((p) => p.timeouts);
  const died = since((p) => p.replaced.died + p.replaced.dead);
  const recent = history.slice(-30);
  const often = (test) => recent.length > 9 && recent.filter(test).length > recent.length / 3;
  const held = now.use_time?.mean ?? 0;
  const most = pool.size + pool.max_overflow;
  const crowded = pool.budget?.threads > most;
  const enlarge =
    held > 0.5
      ? `A connection is held for ${seconds(held)} on average: find the slow statement, or the work done between a statement and the end of its request, before you enlarge the pool.`
      : crowded
        ? `A worker has ${pool.budget.threads} threads and ${most} connections: raise SQLALCHEMY_POOL_SIZE above ${pool.size}, or lower WEB_THREADS to ${most}.`
        : `Raise SQLALCHEMY_POOL_SIZE above ${pool.size}.`;
  if (pool.budget && !pool.budget.fits)
    return ["error", `All workers together can open ${pool.budget.needed} connections and the server grants ${pool.budget.limit}: lower SQLALCHEMY_MAX_OVERFLOW, SQLALCHEMY_POOL_SIZE or WEB_CONCURRENCY.`];
  if (timeouts > 0)
    return ["error", `${plural(timeouts, "request")} got no connection in the last minutes. ${enlarge}`];
  if (pool.leaks > 0)
    return ["error", `${plural(pool.leaks, "connection")} leaked: close what is taken at ${pool.last_leak?.taker ?? "the place that the log names"}, best with a with-block.`];
  if (often((point) => point.pool.waiting > 0) || now.wait_time?.mean > Math.max(0.005, held / 2))
    return ["warning", `Requests wait for a connection. ${enlarge}`];
  if (died > 0)
    return ["warning", `${plural(died, "connection")} died in the last minutes and ${died === 1 ? "was" : "were"} replaced: unless the server restarted, set SQLALCHEMY_POOL_RECYCLE below what the server and the network allow.`];
  if (often((point) => point.pool.overflow > 0))
    return ["warning", `Overflow connections are opened and closed all the time: raise SQLALCHEMY_POOL_SIZE above ${pool.size}, so that they are kept.`];
  return ["", "Nothing to change: nobody waits, and no connection was lost."];
}

function drawNow(section, pool) {
  const unopened = Math.max(0, pool.capacity - pool.checkedout - pool.checkedin);
  drawBar(
    section.querySelector('[data-bar="now"]'),
    [["used", pool.checkedout], ["idle", pool.checkedin]],
    pool.capacity,
    `${pool.checkedout} in use, ${pool.checkedin} idle and ${unopened} not open of ${pool.capacity} connections`,
  );
}

function tellBudget(section, put, pool) {
  const budget = pool.budget;
  put("settings", `Each worker: size ${pool.size}, up to ${pool.max_overflow} more, ` +
    (pool.replica ? `a replica, ${pool.replica.usable ? "read from" : "left out"}, ` : "") +
    `${budget ? `${plural(budget.threads, "thread")}, ` : ""}waits ${pool.timeout} s at most, ` +
    (pool.recycle > 0 ? `recycles after ${pool.recycle} s.` : "never recycles."));
  const bar = section.querySelector('[data-bar="budget"]');
  bar.toggleAttribute("hidden", !budget?.limit);
  if (!budget) return put("budget", "The server has not been asked for its limit yet.");
  put("budget", budget.text + (budget.limit ? "." : "; the server names no limit."));
  if (budget.limit)
    drawBar(bar, [[budget.fits ? "used" : "error", budget.needed]], Math.max(budget.limit, budget.needed), budget.text);
}

function tellTotals(put, data, pool) {
  const { recycled, dead, died, leaked } = pool.replaced;
  const opened = pool.create_time.counts.at(-1);
  put("checkouts", pool.checkouts.toLocaleString("en"));
  put("opened", opened ? `${opened.toLocaleString("en")}, ${seconds(pool.create_time.sum / opened)} each` : "0");
  put("timeouts", pool.timeouts);
  put("replaced", `${recycled} by age, ${dead} dead at checkout, ${died} died in use, ${leaked} leaked`);
  put("leaks", pool.leaks);
  const refused = Object.entries(data.unavailable).filter(([, count]) => count);
  const reasons = refused.map(([reason, count]) => `${count} ${reason.replace("_", " ")}`).join(", ");
  put("requests", `${data.retries} run again, ${reasons ? `refused: ${reasons}` : "0 refused"}`);
  const leak = pool.last_leak;
  put("last_leak", leak ? `${leak.taker}, at ${clock(new Date(leak.time * 1000))}` : "none");
}

function listWorkers(section, data, pool) {
  const caption = data.all_workers ? "Workers, by process id" : "This process only: workers share no metrics";
  setText(section.querySelector("caption"), caption);
  section.querySelector('[data-rows="workers"]').replaceChildren(...pool.workers.map((worker) => row(worker.pid, worker)));
  section.querySelector("tfoot").replaceChildren(row("All", pool));
}

// a connection that is held the whole time counts as one
function listRoutes(section, history) {
  const { time, pool, since, routes } = history.at(-1);
  const all = pool.routes.reduce((sum, route) => sum + route.held_seconds, 0);
  const rows = pool.routes.map(({ route, held_seconds, held_long }) => {
    const earlier = routes?.find((other) => other.route === route)?.held_seconds ?? 0;
    const now = since ? Math.max(0, held_seconds - earlier) / (time - since) : null;
    const share = `${((100 * held_seconds) / all).toFixed(1)} %`;
    return [now ?? 0, cells(route === "-" ? "no route" : route, [now?.toFixed(2) ?? "-", seconds(held_seconds), share, held_long])];
  });
  rows.sort(([one], [other]) => other - one);
  section.querySelector('[data-rows="routes"]').replaceChildren(...rows.map(([, row]) => row));
}

function row(head, numbers) {
  const names = ["checkedout", "checkedin", "overflow", "capacity", "waiting", "timeouts"];
  return cells(head, names.map((name) => numbers[name]));
}

function cells(head, values) {
  const element = document.createElement("tr");
  const th = element.appendChild(document.createElement("th"));
  th.scope = "row";
  th.textContent = head;
  for (const value of values) element.appendChild(document.createElement("td")).textContent = value;
  return element;
}

function drawCurves(section, history, put) {
  const capacity = history.at(-1).pool.capacity;
  const series = (pick) => history.map((point) => [point.time, pick(point)]);
  const highest = (points) => Math.max(0, ...points.map(([, value]) => value ?? 0));
  const used = series((point) => point.pool.checkedout);
  const waiting = series((point) => point.pool.waiting);
  const text = `up to ${highest(used)} of ${capacity} in use, up to ${highest(waiting)} waiting`;
  put("connections", text);
  const whole = (value) => (Number.isInteger(value) ? value : "");
  drawChart(section, "connections", { used, waiting }, whole, capacity, text);
  for (const times of ["wait_time", "use_time"]) {
    const mean = series((point) => point[times]?.mean ?? null);
    const p95 = series((point) => point[times]?.p95 ?? null);
    const text = spreadText(history.at(-1)[times], p95);
    put(times, text);
    drawChart(section, times, { mean, p95 }, seconds, 0.0001, text);
  }
}

function drawChart(section, name, lines, unit, least, text) {
  const svg = section.querySelector(`[data-chart="${name}"]`);
  const [left, top, right, bottom] = [48, 8, 356, 130];
  const times = Object.values(lines)[0].map(([time]) => time);
  const end = times.at(-1);
  const span = Math.min(WINDOW, Math.max(60, end - times[0]));
  const values = Object.values(lines).flatMap((points) => points.map(([, value]) => value ?? 0));
  const ceiling = Math.max(...values) > least ? nice(Math.max(...values)) : least;
  const x = (time) => (right - ((end - time) / span) * (right - left)).toFixed(1);
  const y = (value) => (bottom - (value / ceiling) * (bottom - top)).toFixed(1);
  const parts = [0, 0.5, 1].flatMap((part) => [
    make("line", { class: "grid", x1: left, x2: right, y1: y(part * ceiling), y2: y(part * ceiling) }),
    make("text", { x: left - 5, y: +y(part * ceiling) + 4, "text-anchor": "end" }, part ? unit(part * ceiling) : "0"),
  ]);
  parts.push(make("text", { x: left, y: 146 }, `${span < 90 ? `${Math.round(span)} s` : `${Math.round(span / 60)} min`} ago`));
  parts.push(make("text", { x: right, y: 146, "text-anchor": "end" }, "now"));
  for (const [kind, points] of Object.entries(lines)) {
    const seen = points.filter(([time]) => time >= end - span);
    if (kind === "used" || kind === "mean") parts.push(make("path", { class: "area", d: area(seen, x, y) }));
    parts.push(make("path", { class: kind, d: curve(seen, x, y) }));
  }
  svg.setAttribute("aria-label", `${name.replace("_", " ")}: ${text}`);
  svg.replaceChildren(...parts);
}

// a gap where there was nothing to measure
function runs(points) {
  const found = [[]];
  for (const [time, value] of points) {
    if (value === null) found.push([]);
    else found.at(-1).push([time, value]);
  }
  return found.filter((run) => run.length);
}

function curve(points, x, y) {
  return runs(points).map((run) => `M${run.map(([time, value]) => `${x(time)} ${y(value)}`).join("L")}`).join("");
}

function area(points, x, y) {
  return runs(points)
    .map((run) => `${curve(run, x, y)}L${x(run.at(-1)[0])} ${y(0)}L${x(run[0][0])} ${y(0)}Z`)
    .join("");
}

function drawBar(svg, pieces, all, text) {
  let x = 0;
  const rects = pieces.map(([kind, count]) => {
    const width = all ? (100 * count) / all : 0;
    x += width;
    return make("rect", { class: kind, x: x - width, width, y: 0, height: 4 });
  });
  svg.setAttribute("aria-label", text);
  svg.replaceChildren(...rects);
}

function make(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// the next round number
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.999);
}

function seconds(value) {
  const [scaled, unit] = value < 0.001 ? [value * 1e6, "µs"] : value < 1 ? [value * 1000, "ms"] : [value, "s"];
  return `${Number(scaled.toPrecision(scaled < 100 ? 2 : 3))} ${unit}`;
}

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function clock(date) {
  return date.toLocaleTimeString("en-GB");
}

// a live region speaks when its text is set, even to what it was
function setText(element, value) {
  if (element.textContent !== String(value)) element.textContent = value;
}

document.getElementById("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.target.textContent = paused ? "Go on" : "Pause";
  if (paused) pulse(answered ? `Paused at ${clock(answered)}.` : "Paused.");
});
look();
