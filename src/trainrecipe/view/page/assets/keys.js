// Keys that hold on every page: `?` lists them, `/` goes to the expression, `g` and a letter goes to a page.
const help = document.getElementById("keys");
document.getElementById("help").addEventListener("click", () => help.showModal());

const pages = { o: "", e: "/examples", c: "/confusion", d: "/duplicates", h: "/human" };
const base = document.body.dataset.base;
let going = false;

export function typing(event) {
  return event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")
    || event.target.closest?.("input:not([type=checkbox]), textarea, select");
}

/** Tell those who listen to a screen reader. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.matches?.("input, textarea, select")) event.target.blur();
  if (typing(event)) return;
  if (document.body.classList.contains("asking") && event.key !== "?") return; // letters are answers there
  if (going) {
    going = false;
    if (event.key === "r") location.href = "/runs";
    else if (base && event.key in pages) location.href = base + pages[event.key];
    event.stopImmediatePropagation();
    return;
  }
  const box = document.getElementById("where");
  if (event.key === "?") help.showModal();
  else if (event.key === "g") { going = true; setTimeout(() => { going = false; }, 1500); }
  else if (event.key === "/" && box) { event.preventDefault(); box.focus(); box.select(); }
  else if (event.key === "/" && base) location.href = `${base}/examples`;
  else return;
  event.stopImmediatePropagation();
}, true);
