// The human baseline: one example after another, answered by keys. The clock stands while paused or out of sight.
import { say, typing } from "./keys.js";

const $ = (id) => document.getElementById(id);
const place = $("asking");
const { address, query, person, again } = place.dataset;
const example = $("asked-example");
const typed = $("typed");
let at = 0;
let busy = true;
let paused = false;
let spent = 0;
let since = 0;

const running = () => !paused && !document.hidden && !busy;
const stop = () => { if (since) spent += performance.now() - since; since = 0; };
const go = () => { if (running() && !since) since = performance.now(); };
document.addEventListener("visibilitychange", () => { if (document.hidden) stop(); else go(); });

async function post(path, fields) {
  const response = await fetch(`${address}/${path}`, { method: "POST", body: new URLSearchParams({ person, again, ...fields }), headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`the answer could not be kept (${response.status})`);
  return response.json();
}

async function next() {
  busy = true;
  const response = await fetch(`${address}/next?${query}`, { headers: { Accept: "application/json" } });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? response.status);
  if (answer.done === answer.total) { location.replace(`${address}/result${query ? "?" : ""}${query}`); return; }
  at = answer.done;
  $("progress").value = at;
  $("progress-text").textContent = `${at + 1} of ${answer.total}`;
  example.innerHTML = answer.html; // made and escaped by the page's own server
  $("undo").disabled = at === 0;
  if (typed) { typed.reset(); filter(""); typed.querySelector("input").focus(); }
  busy = false;
  spent = 0;
  since = 0;
  go();
}

async function guarded(work) {
  if (busy || paused) return;
  stop();
  busy = true;
  try {
    await work();
    $("problem").hidden = true;
    await next();
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
    busy = false;
    go();
  }
}

const answer = (given) => guarded(async () => {
  say(`answered ${given}`);
  await post("answer", { answer: given, at, seconds: (spent / 1000).toFixed(2) });
});
const undo = () => guarded(() => (at ? post("undo", {}) : null));

function pause(on = !paused) {
  paused = on;
  $("pause").setAttribute("aria-pressed", on);
  $("pause").textContent = on ? "Go on" : "Pause";
  example.hidden = on;
  if (on) stop(); else go();
}

document.querySelector(".classes").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) { button.blur(); answer(button.dataset.answer); }
});
$("undo").addEventListener("click", undo);
$("pause").addEventListener("click", () => pause());

// Many classes: what is typed narrows the list; Enter takes the first that is left.
const buttons = [...document.querySelectorAll(".classes button")];
function filter(text) {
  for (const b of buttons) b.parentElement.hidden = !b.dataset.answer.toLowerCase().startsWith(text.toLowerCase());
}
typed?.addEventListener("input", () => filter(typed.querySelector("input").value));
typed?.addEventListener("submit", (event) => {
  event.preventDefault();
  const first = buttons.find((b) => !b.parentElement.hidden);
  if (first) answer(first.dataset.answer);
});

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    event.stopImmediatePropagation();
    if (paused) location.href = address.replace(/\/[^/]*$/, ""); else pause(true);
    return;
  }
  if (typing(event) && !(event.target.form === typed && typed && event.key === "Backspace" && !event.target.value)) return;
  if (paused && event.key === "Enter") { event.preventDefault(); pause(false); return; }
  if (event.key === "Backspace") { event.preventDefault(); event.stopImmediatePropagation(); undo(); return; }
  const pressed = buttons.find((b) => b.dataset.press === event.key.toLowerCase());
  if (pressed) { event.preventDefault(); event.stopImmediatePropagation(); answer(pressed.dataset.answer); }
}, true);

try { await next(); } catch (error) { $("problem").textContent = error.message; $("problem").hidden = false; }
