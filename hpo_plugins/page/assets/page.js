"use strict";
const C = JSON.parse(document.getElementById("config").textContent);
const $ = (id) => document.getElementById(id);
const make = (tag, text, parent, cls) => { const e = document.createElement(tag);
  if (text !== undefined && text !== null) e.textContent = text; if (cls) e.className = cls; if (parent) parent.append(e); return e; };
const short = (s, n) => { s = String(s); return s.length > n ? s.slice(0, n - 1) + "\u2026" : s; };
const fmt = (v) => v === null || v === undefined ? "" : typeof v === "number" ? (Number.isInteger(v) ? String(v) : String(+v.toPrecision(5))) : String(v);
const pause = (ms) => new Promise((go) => setTimeout(go, ms));
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The server. Paths are relative to where a proxy shows the page; in frames, the token is in the address.
const BASE = location.pathname.replace(/\/*$/, "/"), TOKEN = new URLSearchParams(location.search).get("token");
const HEADERS = TOKEN ? { Authorization: "Bearer " + TOKEN } : {};
function address(path, values) { const found = new URLSearchParams(values); return BASE + "page/" + path + (found.size ? "?" + found : ""); }
async function get(path, values, signal) {
  const answer = await fetch(address(path, values), { headers: HEADERS, signal, cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()).trim() || "The server answered " + answer.status);
  return answer;
}
const json = async (path, values) => (await get(path, values)).json();
async function act(body, name = shown) {
  const answer = await fetch(address("act", { name }), { method: "POST", body: JSON.stringify(body),
    headers: { ...HEADERS, "Content-Type": "application/json", "X-HPO-Plugins-Key": C.key } });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text.trim() || "The server answered " + answer.status);
  return JSON.parse(text).message;
}
const say = (text) => { $("message").textContent = text; };
const guarded = (work, place) => async (event) => { if (event) event.preventDefault();
  const box = place ? place() : null; if (box) box.textContent = ""; say("");
  try { await work(event); } catch (error) { if (box) box.textContent = error.message; else say(error.message); } };
const errorOf = (form) => () => form.querySelector(".error");

// One study, as it was sent last.
let shown = C.study, D = null, advised = null, listening = null, cost = 0;

async function load() {
  const began = performance.now();
  const next = await json("study", { name: shown });
  if (next.key !== shown) return;
  D = next;
  D.index = D.rows.map((row) => row.map((v) => v === null ? "" : String(v).toLowerCase()).join("\u0000"));
  paint();
  await figures();
  cost = performance.now() - began;
  advise(shown);
}
async function advise(name) {
  try { const found = await json("insights", { name });
    if (name !== shown) return;
    advised = found; tiles(); advice(); await figures();
    document.body.dataset.advised = "true";
  } catch (error) { say(error.message); }
}

function paint() {
  document.title = D.name;
  $("title").textContent = D.name;
  $("subtitle").textContent = D.subtitle;
  $("best").textContent = D.best || "No trial has a value yet.";
  $("definition").textContent = D.definition;
  tiles(); noted(); logged(); choices(); draw();
}
function tiles() {
  const expected = advised ? advised.tiles.filter(([name]) => name.startsWith("expected")) : [];
  const own = [...D.tiles.slice(0, 1), ...expected, ...D.tiles.slice(1)];
  $("tiles").replaceChildren();
  for (const [label, value] of own) { const t = make("div", null, $("tiles"), "tile"); make("b", value, t); make("span", label, t, "soft"); }
}
function advice() {
  $("advice").replaceChildren();
  if (!advised || !advised.advice.length) return;
  make("h2", "How sure, and what to change", $("advice"));
  const ul = make("ul", null, $("advice")); for (const a of advised.advice) make("li", a, ul);
}
function noted() {
  const own = D.annotations.study || { note: "", tags: [] };
  $("noted").hidden = !own.note && !own.tags.length;
  $("noted").replaceChildren();
  for (const tag of own.tags) make("span", tag, $("noted"), "tagged");
  $("noted").append(own.note);
}
function logged() {
  $("log-section").hidden = !D.actions.length;
  $("log").replaceChildren(...D.actions.map((row) => { const tr = document.createElement("tr");
    for (const cell of [new Date(row.at * 1000).toLocaleString(), row.action, row.trial, row.details]) make("td", fmt(cell), tr).title = fmt(cell);
    return tr; }));
}

// The table: sorted and filtered here, a page at a time.
let sorted = [0, 1], page = 100, chosen = null; // the trials chosen in a picture, null for all
const filter = () => [$("filter").value.toLowerCase(), $("state").value, $("tag").value];
function options(select, names, first) { const before = select.value;
  select.replaceChildren(...[first, ...names].map((name, i) => { const o = make("option", name); o.value = i ? name : ""; return o; }));
  select.value = names.includes(before) ? before : ""; }
function choices() {
  options($("state"), [...new Set(D.rows.map((r) => r[1]))], "all states");
  const tags = [...new Set(Object.entries(D.annotations).flatMap(([key, each]) => key === "study" ? [] : each.tags))].sort();
  options($("tag"), tags, "all tags"); $("tag").hidden = !tags.length;
  const head = D.columns.join("\u0000");
  if ($("head").dataset.columns === head) return;
  $("head").dataset.columns = head;
  $("head").replaceChildren();
  D.columns.forEach((name, c) => { const th = make("th", null, $("head")); th.scope = "col"; th.title = name;
    const button = make("button", short(name, 40), th); button.type = "button";
    button.onclick = () => { sorted = [c, sorted[0] === c ? -sorted[1] : 1]; draw(); }; });
}
function visible() { // the trials that pass the filter and are chosen
  const [text, state, tag] = filter();
  return D.rows.map((_, i) => i).filter((i) => (!chosen || chosen.has(i)) && (!state || D.rows[i][1] === state) &&
    (!tag || (D.annotations[i] || { tags: [] }).tags.includes(tag)) && (!text || D.index[i].includes(text)));
}
function draw() {
  const [c, way] = sorted, order = visible(), last = D.columns.length - 1;
  order.sort((a, b) => { const x = D.rows[a][c], y = D.rows[b][c];
    if (x === null || y === null) return (x === null) - (y === null);
    return way * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y))); });
  const focused = document.activeElement && document.activeElement.dataset.trial;
  const rows = order.slice(0, page).map((i) => { const tr = document.createElement("tr");
    D.rows[i].forEach((v, k) => { const td = make("td", null, tr, k && typeof v === "number" ? "num" : "");
      if (k === 0) { const open = make("button", v, td); open.type = "button"; open.dataset.trial = i; open.setAttribute("aria-label", "Trial " + v);
        for (const tag of (D.annotations[i] || { tags: [] }).tags) make("span", tag, td, "tagged"); return; }
      if (k === 1) { const dot = make("span", null, td, "dot"); dot.style.background = D.colors[v] || "#888"; }
      td.append(fmt(v)); td.title = k === last && D.annotations[i] ? fmt(v) + "\n" + D.annotations[i].note : fmt(v); });
    return tr; });
  $("rows").replaceChildren(...rows);
  if (focused !== undefined) { const again = $("rows").querySelector(`[data-trial="${focused}"]`); if (again) again.focus({ preventScroll: true }); }
  $("count").textContent = `${order.length} of ${D.rows.length} trials`;
  $("more").hidden = order.length <= page;
  [...$("head").children].forEach((th, k) => { th.setAttribute("aria-sort", k === c ? (way > 0 ? "ascending" : "descending") : "none");
    th.firstChild.textContent = short(D.columns[k], 40) + (k === c ? (way > 0 ? " \u25b2" : " \u25bc") : ""); });
  mark(order);
}
$("filter").oninput = $("state").onchange = $("tag").onchange = () => { page = 100; draw(); };
$("more").onclick = () => { page += 500; draw(); };
$("rows").onclick = (event) => { const number = event.target.dataset.trial; if (number !== undefined) openTrial(Number(number)); };
$("copy").onclick = () => navigator.clipboard && navigator.clipboard.writeText(D.best || "");
function choose(numbers, adds) {
  chosen = adds && chosen ? new Set([...chosen, ...numbers]) : numbers && numbers.length ? new Set(numbers) : null;
  page = 100; draw();
}
$("clear").onclick = () => { for (const figure of charts.values()) { if (!figure.boxed) continue; figure.boxed = false;
  Plotly.update(figure.div, { selectedpoints: null }, { selections: [] }); }
  $("filter").value = $("state").value = $("tag").value = ""; choose(null); };

// The pictures. Chosen trials are drawn over them on a canvas: to draw the pictures again would take far longer.
const charts = new Map(); // kind: what is drawn
function layout(more) { const axis = { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true };
  return { margin: { l: 54, r: 14, t: 10, b: 42 }, height: 340, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--ink"), size: 12 }, legend: { orientation: "h", y: 1.08 }, hovermode: "closest", uirevision: shown,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--ink") }, ...more,
    xaxis: { ...axis, ...(more.xaxis || {}) }, yaxis: { ...axis, ...(more.yaxis || {}) } }; }
// No button of plotly may send a study to a server of its makers.
const settings = () => ({ responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "", ...(innerWidth < 700 && { displayModeBar: false }) });
let drawing = Promise.resolve();
function figures() { drawing = drawing.then(redraw, redraw); return drawing; }
async function redraw() {
  await plotly;
  const sent = [...D.figures, ...(advised ? advised.figures : [])], kinds = sent.map((figure) => figure.kind);
  for (const [kind, chart] of charts) if (!kinds.includes(kind)) { Plotly.purge(chart.div); chart.box.remove(); charts.delete(kind); }
  for (const figure of sent) if (!charts.has(figure.kind)) box(figure); // all, since each takes its width from the grid
  for (const figure of sent) {
    const chart = charts.get(figure.kind);
    if (chart.figure === figure) continue;
    await pause(0); // between two pictures, the page answers
    chart.note.textContent = figure.note;
    chart.figure = figure; chart.marks = null;
    await Plotly.react(chart.div, figure.data, layout(figure.layout), settings());
    if (!chart.heard) { chart.heard = true; hear(chart); }
    if (!document.body.dataset.first) document.body.dataset.first = performance.now();
    overlay(chart);
  }
  document.body.dataset.ready = D.state;
}
function box(figure) {
  const outer = make("section", null, $("plots"), "plot" + (figure.wide ? " wide" : "")), id = "figure-" + figure.kind;
  make("h3", figure.title, outer).id = id; outer.setAttribute("aria-labelledby", id);
  const note = make("p", figure.note, outer), frame = make("div", null, outer, "frame");
  const chart = { box: outer, note, frame, div: make("div", null, frame), canvas: make("canvas", null, frame, "marks"), figure: null };
  chart.canvas.setAttribute("aria-hidden", "true");
  charts.set(figure.kind, chart);
  return chart;
}
const trialOf = (point) => point.customdata !== undefined ? point.customdata : point.data.meta;
function hear(chart) {
  chart.div.on("plotly_click", (event) => { const numbers = event.points.map(trialOf).filter((n) => n !== undefined);
    if (numbers.length) choose(numbers.slice(0, 1), event.event && (event.event.shiftKey || event.event.ctrlKey || event.event.metaKey)); });
  chart.div.on("plotly_selected", (event) => { if (!event || !event.points) return; // empty when a box is cleared
    const within = (v, [a, b]) => v >= Math.min(a, b) && v <= Math.max(a, b); // not all points are drawn
    const numbers = chart.figure.kind === "history" && event.range ? D.rows.filter(([n, , value]) => value !== null &&
      within(n, event.range.x) && within(value, event.range.y)).map((row) => row[0]) :
      [...new Set(event.points.map(trialOf).filter((n) => n !== undefined))];
    if (numbers.length) { chart.boxed = true; choose(numbers); } });
  chart.div.on("plotly_afterplot", () => overlay(chart));
  chart.div.on("plotly_relayouting", () => overlay(chart));
}
function marksOf(chart) { // by trial, what to draw: lines, or single points and bars
  if (chart.marks) return chart.marks;
  const marks = new Map(), add = (n, mark) => marks.has(n) ? marks.get(n).push(mark) : marks.set(n, [mark]);
  if (chart.figure.kind === "history") D.rows.forEach(([n, , value]) => { if (value !== null) add(n, { x: [n], y: [value] }); });
  else for (const trace of chart.figure.data) {
    if (typeof trace.meta === "number") add(trace.meta, { x: trace.x, y: trace.y });
    else if (trace.customdata && trace.base) trace.customdata.forEach((n, i) => add(n, { bar: [trace.base[i], trace.base[i] + trace.x[i], trace.y[i]] }));
    else if (trace.customdata) { let from = 0; // lines one after the other
      trace.customdata.forEach((n, i) => { if (n !== trace.customdata[i + 1]) { add(n, { x: trace.x.slice(from, i + 1), y: trace.y.slice(from, i + 1) }); from = i + 1; } }); }
  }
  return (chart.marks = marks);
}
let marked = null; // the trials to mark, null for none
function mark(order) {
  const all = order.length === D.rows.length;
  marked = all ? null : order;
  $("clear").hidden = all && !chosen;
  $("selection").textContent = all ? "Click a trial in a picture, or draw a box, to see it in the others." :
    `${order.length} trial${order.length === 1 ? "" : "s"} shown in the pictures.`;
  for (const chart of charts.values()) overlay(chart);
  missing();
}
function overlay(chart) {
  const { canvas, div } = chart, full = div._fullLayout;
  if (!full || !full.xaxis || !chart.figure) return;
  const marks = marked ? marksOf(chart) : null, on = marks && marks.size > 0;
  canvas.hidden = !on;
  if (!on) return;
  const scale = devicePixelRatio || 1, { xaxis: xa, yaxis: ya } = full;
  canvas.width = full.width * scale; canvas.height = full.height * scale;
  canvas.style.width = full.width + "px"; canvas.style.height = full.height + "px";
  const pen = canvas.getContext("2d", { willReadFrequently: true }); // drawn by the CPU: faster for so little
  pen.scale(scale, scale);
  pen.beginPath(); pen.rect(xa._offset, ya._offset, xa._length, ya._length); pen.clip();
  pen.fillStyle = css("--card"); pen.globalAlpha = 0.85; // a veil: to change the picture below would draw it again
  pen.fillRect(xa._offset, ya._offset, xa._length, ya._length); pen.globalAlpha = 1;
  const X = (v) => xa._offset + xa.d2p(v), Y = (v) => ya._offset + ya.d2p(v);
  pen.lineWidth = marked.length > 50 ? 1 : 2;
  for (const n of marked) {
    pen.strokeStyle = pen.fillStyle = D.colors[D.rows[n][1]] || css("--accent");
    for (const each of marks.get(n) || []) stroke(pen, each, X, Y);
  }
  for (const each of extra.get(chart.figure.kind) || []) { if (!marked.includes(each.trial)) continue;
    pen.strokeStyle = pen.fillStyle = D.colors[D.rows[each.trial][1]]; stroke(pen, each, X, Y); }
}
function stroke(pen, each, X, Y) {
  if (each.bar) { const [from, to, row] = each.bar, half = Math.abs(Y(row + 0.38) - Y(row)); pen.fillRect(X(from), Y(row) - half, Math.max(1, X(to) - X(from)), 2 * half); return; }
  pen.beginPath();
  if (each.x.length === 1) { pen.arc(X(each.x[0]), Y(each.y[0]), marked.length > 50 ? 3 : 5, 0, 7); pen.fill(); return; }
  let up = true;
  each.x.forEach((x, i) => { const y = each.y[i]; if (x === null || y === null) { up = true; return; } up ? pen.moveTo(X(x), Y(y)) : pen.lineTo(X(x), Y(y)); up = false; });
  pen.stroke();
}
const extra = new Map(); // curves of chosen trials that are not among those that are drawn
let asked = "";
async function missing() {
  const chart = charts.get("curves");
  if (!marked || marked.length > 100 || !chart || !chart.figure) return;
  const drawn = marksOf(chart), numbers = marked.filter((n) => !drawn.has(n)), key = D.state + " " + numbers;
  if (!numbers.length || key === asked) return;
  asked = key;
  try { extra.set("curves", await json("curves", { name: shown, trial: numbers.join(",") })); overlay(chart); } catch (error) { say(error.message); }
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const chart of charts.values()) if (chart.figure)
  Plotly.react(chart.div, chart.figure.data, layout(chart.figure.layout), settings()); });

// One trial.
let opened = null;
async function openTrial(number) {
  try { opened = await json("trial", { name: shown, trial: number }); } catch (error) { say(error.message); return; }
  const own = D.annotations[number] || { note: "", tags: [] };
  $("trial-title").textContent = `Trial ${number}: ${opened.state}`;
  $("facts").replaceChildren();
  for (const [name, value] of [...Object.entries(opened.params), ...opened.facts]) { make("dt", name, $("facts")); make("dd", value, $("facts")); }
  $("trial-note").value = own.note; $("trial-tags").value = own.tags.join(", ");
  $("trial-note").readOnly = $("trial-tags").readOnly = !C.allowActions;
  const over = ["completed", "stopped", "failed"].includes(opened.state);
  $("stop").disabled = $("fail").disabled = over;
  $("restart").disabled = over && opened.state !== "failed";
  $("why").value = ""; errorOf($("trial-form"))().textContent = "";
  if (!$("trial-dialog").open) $("trial-dialog").showModal();
}
const tagsOf = (text) => text.split(",").map((tag) => tag.trim()).filter(Boolean);
const onTrial = (make_, close) => guarded(async () => { const message = await act({ trial: opened.number, ...make_() });
  if (close) $("trial-dialog").close(); say(message); await load(); }, errorOf($("trial-form")));
$("trial-form").onsubmit = onTrial(() => ({ action: "annotate", note: $("trial-note").value, tags: tagsOf($("trial-tags").value) }), true);
for (const action of ["stop", "fail"]) $(action).onclick = onTrial(() => ({ action, note: $("why").value }), true);
$("restart").onclick = onTrial(() => ({ action: "restart" }), true);
$("alike").onclick = () => { $("trial-dialog").close(); openEnqueue(opened.values); };

// The form of a configuration.
function openEnqueue(values) {
  $("fields").replaceChildren();
  D.fields.forEach((field, i) => { const id = "field-" + i, label = make("label", field.label, $("fields")); label.htmlFor = id;
    let input;
    if (field.kind === "choice") { input = make("select", null, $("fields"));
      const none = make("option", "the strategy chooses", input); none.value = "";
      field.choices.forEach((choice, k) => { make("option", choice, input).value = k; });
    } else { input = make("input", null, $("fields")); input.type = "number"; input.step = field.step === null && field.kind !== "integer" ? "any" : field.step || 1;
      input.min = field.low; input.max = field.high; input.placeholder = `${fmt(field.low)} to ${fmt(field.high)}`; }
    input.id = id; input.dataset.name = D.names[i];
    if (field.when) { const hint = make("div", "Only while " + field.when, $("fields"), "soft"); hint.id = id + "-when"; input.setAttribute("aria-describedby", hint.id); }
    const value = (values || {})[D.names[i]]; input.value = value === undefined ? "" : value; });
  errorOf($("enqueue-form"))().textContent = "";
  $("enqueue-dialog").showModal();
}
$("enqueue").onclick = () => openEnqueue(null);
$("enqueue-form").onsubmit = guarded(async () => { const params = {};
  for (const input of $("fields").querySelectorAll("[data-name]")) if (input.value !== "") params[input.dataset.name] = Number(input.value);
  const message = await act({ action: "enqueue", params }); $("enqueue-dialog").close(); say(message); await load(); }, errorOf($("enqueue-form")));

// The study: its note, its name, downloads, others.
$("about").onclick = () => { const own = D.annotations.study || { note: "", tags: [] };
  $("study-note").value = own.note; $("study-tags").value = own.tags.join(", "); $("new-name").value = shown;
  $("study-note").readOnly = $("study-tags").readOnly = !C.allowActions;
  $("rename-form").hidden = !C.allowActions || !C.canRename; $("about-dialog").showModal(); };
$("about-form").onsubmit = guarded(async () => { say(await act({ action: "annotate", note: $("study-note").value, tags: tagsOf($("study-tags").value) }));
  $("about-dialog").close(); await load(); }, errorOf($("about-form")));
$("rename-form").onsubmit = guarded(async () => { const name = $("new-name").value, message = await act({ action: "rename", name });
  $("about-dialog").close(); await list(); await show(name); say(message); }, errorOf($("rename-form")));
$("download").onchange = guarded(async () => { const what = $("download").value; $("download").value = ""; if (!what) return;
  const file = await (await get("download", { name: shown, what })).blob(), link = make("a");
  link.href = URL.createObjectURL(file); link.download = what + (what === "report" ? ".html" : ".csv"); link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000); });
let studies = [];
async function list() {
  studies = await json("studies");
  $("study").replaceChildren(...studies.map((each) => { const o = make("option", short(each.label, 60)); o.value = each.name; return o; }));
  $("study").value = shown; $("compare").hidden = studies.length < 2;
}
$("study").onchange = guarded(() => show($("study").value));
async function show(name) {
  shown = name; chosen = null; advised = null; page = 100; extra.clear(); asked = "";
  for (const chart of charts.values()) { Plotly.purge(chart.div); chart.box.remove(); } charts.clear();
  $("study").value = name;
  const query = new URLSearchParams(location.search); query.set("study", name); history.replaceState(null, "", "?" + query);
  await load(); listen();
}
$("compare").onclick = guarded(async () => { await list();
  const before = new Set([...$("compared").querySelectorAll("input:checked")].map((each) => each.value));
  $("compared").querySelectorAll("label").forEach((each) => each.remove());
  for (const each of studies) { const label = make("label", null, $("compared")), input = make("input", null, label); input.type = "checkbox"; input.value = each.name;
    input.checked = before.size ? before.has(each.name) : studies.length <= 6 || each.name === shown; label.append(" " + short(each.label, 80)); }
  $("compare-dialog").showModal(); await compare(); });
$("compare-dialog").onchange = guarded(() => compare());
const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"], DASHES = ["solid", "dash", "dot"];
async function compare() {
  const wanted = [...$("compared").querySelectorAll("input:checked")].slice(0, 12), div = $("compare-plot");
  await plotly;
  if (!wanted.length) { Plotly.purge(div); $("compare-note").textContent = "Choose at least one study."; return; }
  const query = new URLSearchParams(wanted.map((each) => ["name", each.value]));
  const found = await (await get("compare?" + query)).json(), against = document.querySelector("[name=against]:checked").value;
  const traces = found.studies.map((each, i) => ({ type: "scatter", mode: "lines", name: safe(each.name), x: each[against], y: each.best,
    line: { shape: "hv", color: PALETTE[i % 6], dash: DASHES[Math.floor(i / 6) % 3], width: 2 } }));
  await Plotly.react(div, traces, layout({ xaxis: { title: { text: against === "epochs" ? "trained epochs, all trials" : "seconds since the first trial" } },
    yaxis: { title: { text: "best " + safe(found.metric) } }, showlegend: true }), settings());
  $("compare-note").textContent = found.note; div.dataset.ready = against + " " + traces.length;
}
const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\$/g, "&#36;").replace(/%\{/g, "%&#123;");

// Live: the server says when there is something new.
async function listen() {
  if (listening) listening.abort();
  const mine = (listening = new AbortController()), name = shown;
  while (!mine.signal.aborted && !document.hidden) {
    try {
      const answer = await get("events", { name, state: D ? D.state : "" }, mine.signal);
      live("live");
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ;) { const { value, done } = await reader.read(); if (done) break;
        const parts = (text + value).split("\n\n"); text = parts.pop();
        for (const part of parts) if (await heard(part, mine.signal)) return; }
      live("not connected, trying again");
    } catch (error) { if (mine.signal.aborted) return;
      live(error instanceof TypeError ? "not connected, trying again" : error.message); }
    await pause(2000);
  }
}
const live = (text) => { if ($("live").textContent !== text) $("live").textContent = text; };
async function heard(part, signal) {
  const kind = /^event: (.*)$/m.exec(part), data = /^data: (.*)$/m.exec(part);
  if (!kind || !data || signal.aborted) return signal.aborted;
  if (kind[1] === "state") { live("live"); if (!D || D.state !== data[1]) { try { await load(); } catch (error) { say(error.message); } await pause(Math.min(4 * cost, 20000)); } }
  else { live(kind[1] === "gone" ? data[1] : "not readable now: " + data[1]); if (kind[1] === "gone") { await list(); return true; } }
  return false;
}
document.addEventListener("visibilitychange", () => { if (document.hidden) { if (listening) listening.abort(); } else if (shown) listen(); });

for (const each of document.querySelectorAll(".act")) each.hidden = !C.allowActions;
const plotly = new Promise((go, fail) => { const script = document.createElement("script");
  script.nonce = document.currentScript.nonce; script.src = address("plotly.js", TOKEN ? { token: TOKEN } : {}); script.onload = go;
  script.onerror = () => fail(new Error("plotly could not be loaded; reload the page.")); document.head.append(script); });
(async () => {
  try { await Promise.all([list(), shown === null ? say("There is no study in this storage yet.") : load()]); } catch (error) { say(error.message); }
  if (shown !== null) listen();
})();
