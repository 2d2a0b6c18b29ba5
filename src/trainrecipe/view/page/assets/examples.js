// The examples page: the address is the state. A change makes a new address, and what is seen is asked for by it.
import { Grid } from "./grid.js";
import { Histograms } from "./histograms.js";
import { say, typing } from "./keys.js";

const base = document.body.dataset.base;
const $ = (id) => document.getElementById(id);
const form = $("form");
const scroller = $("scroller");
let good = null; // the last parameters that could be answered
let wanted = null; // those that were asked for last, perhaps still on their way: the next change builds on them
let running = null;
let token = 0;

const read = () => new URLSearchParams(location.search);
const brushesOf = (p) => JSON.parse(p.get("brush") || "{}");
const viewOf = (p) => p.get("view") || form.dataset.default;

async function ask(path, params, signal) {
  const response = await fetch(`${base}/${path}?${params}`, { headers: { Accept: "application/json" }, signal });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? `the server answered ${response.status}`);
  if (answer.version !== scroller.dataset.version) $("rebuilt").hidden = false;
  return answer;
}

const asked = (params, more) => {
  const p = new URLSearchParams(params);
  p.delete("at");
  for (const [key, value] of Object.entries(more)) p.set(key, value);
  return p;
};

const grid = new Grid(scroller, {
  fetchBlock: (offset, limit) => ask("rows", asked(good, { offset, limit, view: viewOf(good) })),
  open: (row, at, event) => {
    const p = new URLSearchParams(good);
    p.set("at", at);
    remember(at);
    const address = `${base}/example/${row}?${p}`;
    if (event?.ctrlKey || event?.metaKey) window.open(address); else location.href = address;
  },
  picture: (row) => `${base}/picture/${row}?v=${scroller.dataset.version}`,
  sortBy: (name) => change(name === wanted.get("sort") ? { desc: wanted.get("desc") ? "" : "1" } : { sort: name, desc: "" }),
});

/** Where one was, for coming back: part of this entry of the history, and of no other. */
function remember(at) {
  history.replaceState({ at }, "");
}

// While a range is dragged one question is under way at a time; the range that is newest then is asked for next.
let newest = null;
let dragging = false;
const histograms = new Histograms($("drawn"), async (brushes, settled) => {
  newest = { brush: Object.keys(brushes).length ? JSON.stringify(brushes) : "" };
  if (settled) { const last = newest; newest = null; await change(last); return; }
  if (dragging) return;
  dragging = true;
  while (newest) { const next = newest; newest = null; await change(next, false); }
  dragging = false;
});

/** Go to a selection with these parameters changed; without `settled` it is shown, but is no place to come back to. */
function change(parameters, settled = true) {
  const p = new URLSearchParams(wanted ?? read());
  p.delete("at");
  for (const [key, value] of Object.entries(parameters)) if (value) p.set(key, value); else p.delete(key);
  return show(p, { push: settled, light: !settled });
}

/** Show what the parameters select. What cannot be answered is said under the box, and what was seen stays. */
async function show(params, { push = false, light = false, at = 0 } = {}) {
  const mine = ++token;
  wanted = params;
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const offset = Math.floor(at / 60) * 60;
  const columns = { columns: params.get("columns") || $("histograms").dataset.columns };
  scroller.classList.toggle("waiting", !light);
  try {
    const [first, cross] = await Promise.all([
      ask("rows", asked(params, { offset, limit: 60, view: viewOf(params) }), signal),
      ask("cross", asked(params, columns), signal),
      light ? null : background(columns),
    ]);
    if (mine !== token) return;
    good = params;
    if (push && params.toString() !== read().toString()) history.pushState(null, "", `${base}/examples${params.size ? "?" : ""}${params}`);
    fields(params);
    $("problem").hidden = true;
    histograms.show(cross.columns, brushesOf(params));
    grid.show(first, offset, { view: viewOf(params), sort: params.get("sort") ?? "row", descending: !!params.get("desc"), at });
    nothing(first.total);
    if (light) counted(first.total); else await state(params);
  } catch (error) {
    if (error.name === "AbortError" || mine !== token) return;
    $("problem").textContent = error.message;
    $("problem").hidden = false;
    good ??= new URLSearchParams();
    wanted = good;
  } finally {
    if (mine === token) scroller.classList.remove("waiting");
  }
}

/** The pale shapes of the whole table, asked for once. */
async function background(columns) {
  const names = columns.columns.split(",").filter((name) => !(name in histograms.behind));
  if (!names.length) return;
  const all = await ask("cross", new URLSearchParams({ columns: names.join(","), all: 1 }));
  Object.assign(histograms.behind, all.columns);
}

function fields(params) {
  if (document.activeElement !== $("where")) $("where").value = params.get("where") ?? "";
  if (document.activeElement !== $("search")) $("search").value = params.get("search") ?? "";
  $("sort").value = params.get("sort") ?? "row";
  const down = !!params.get("desc");
  $("reverse").setAttribute("aria-pressed", down);
  $("reverse").firstElementChild.textContent = down ? "↓" : "↑";
  form.textContent = viewOf(params) === "grid" ? "List" : "Grid";
  const p = asked(params, {});
  for (const key of ["sort", "desc", "view", "columns"]) p.delete(key);
  $("export").href = `${base}/export?${p}`;
}

async function state(params) {
  await htmx.ajax("GET", `${base}/state?${asked(params, {})}`, { target: "#state", swap: "innerHTML" });
  const wider = $("wider");
  $("nothing").replaceChildren(...(wider ? [wider.content] : []));
  $("nothing").hidden = !wider;
}

function counted(total) {
  const place = document.querySelector("#state .total");
  if (place) place.textContent = total.toLocaleString("en");
}

function nothing(total) {
  if (total) $("nothing").hidden = true;
}

// ---- controls

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  change({ where: $("where").value.trim(), search: $("search").value.trim() });
});
$("search").addEventListener("search", () => $("ask").requestSubmit());
$("sort").addEventListener("change", () => change({ sort: $("sort").value === "row" ? "" : $("sort").value }));
$("reverse").addEventListener("click", () => change({ desc: wanted.get("desc") ? "" : "1" }));
form.addEventListener("click", () => turned());
const turned = () => {
  const other = viewOf(wanted) === "grid" ? "list" : "grid";
  return change({ view: other === form.dataset.default ? "" : other });
};

$("choose").addEventListener("change", () => {
  const names = [...$("choose").querySelectorAll("input:checked")].map((box) => box.value).slice(0, 12);
  change({ columns: names.join(",") });
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-without]");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const p = new URLSearchParams(link.search);
  for (const key of ["view", "columns"]) if (good.get(key)) p.set(key, good.get(key));
  $("where").value = p.get("where") ?? "";
  show(p, { push: true }).then(() => scroller.focus());
});

addEventListener("popstate", (event) => {
  $("where").value = read().get("where") ?? "";
  show(read(), { at: event.state?.at ?? 0 });
});

// ---- tags

const tagging = $("tagging");
let lastTag = "";
function tag() {
  const row = grid.row();
  if (!row) return;
  $("tag-of").textContent = row.key;
  const input = tagging.querySelector("input");
  input.value = lastTag;
  tagging.showModal();
  input.select();
}
$("tag-cancel").addEventListener("click", () => tagging.close());
$("tag-form").addEventListener("submit", async () => {
  const row = grid.row();
  lastTag = tagging.querySelector("input").value.trim();
  if (!lastTag) return;
  const response = await fetch(`${base}/mark/${row.row}`, { method: "POST", body: new URLSearchParams({ tag: lastTag }) });
  say(response.ok ? `tagged ${row.key}: ${lastTag}` : "the tag could not be kept");
  scroller.focus();
});

addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const arrows = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(event.key);
  if (arrows && event.target === document.body) { scroller.focus(); grid.keyed({ key: event.key, target: scroller, preventDefault: () => event.preventDefault() }); }
  else if (event.key === "Enter" && event.target === document.body) { scroller.focus(); grid.keyed({ key: "Enter", target: scroller, preventDefault() {} }); }
  else if (event.key === "t") { event.preventDefault(); tag(); }
  else if (event.key === "v") turned();
  else if (event.key === "s") { event.preventDefault(); $("sort").focus(); }
  else if (event.key === "r") $("reverse").click();
  else if (event.key === "x") [...document.querySelectorAll("#state .chip")].at(-1)?.click();
  else if (event.key === "Escape") scroller.focus();
});

// A bad address shows everything, and says what is wrong with it.
const start = Number(read().get("at")) || history.state?.at || 0;
await show(read(), { at: start });
if (!$("problem").hidden) {
  const message = $("problem").textContent;
  const written = $("where").value;
  await show(new URLSearchParams());
  $("where").value = written;
  $("problem").textContent = message;
  $("problem").hidden = false;
}
document.documentElement.dataset.ready = "1";
