// The page of one example, and of a pair: arrows go on, Esc goes back, keys tag and judge.
import { typing } from "./keys.js";

const follow = (rel) => document.querySelector(`.steps a[rel=${rel}]`)?.click();

addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const focus = { t: "tag", n: "note" }[event.key];
  if (focus && document.getElementById(focus)) {
    event.preventDefault();
    document.getElementById(focus).focus();
  } else if (event.key === "ArrowLeft") follow("prev");
  else if (event.key === "ArrowRight") follow("next");
  else if (event.key === "Escape") follow("up");
  else document.querySelector(`.judge button[data-key="${CSS.escape(event.key)}"]`)?.click();
});
