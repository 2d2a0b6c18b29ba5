// Linked histograms: a drag over one selects a range, a click on a value chooses it; each is drawn under the brushes of the others.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 250;
const HEIGHT = 50;

const shape = (name, attributes) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const short = (v) => Math.abs(v) >= 1e5 || (v && Math.abs(v) < 1e-3) ? v.toExponential(2) : String(Number(v.toPrecision(4)));

export class Histograms {
  /** `brushed(brushes, settled)` is called while a range is dragged, and with `settled` when it is let go. */
  constructor(place, brushed) {
    Object.assign(this, { place, brushed, brushes: {}, figures: new Map(), behind: {} });
  }

  /** `columns`: name -> drawing under the selection; `behind`: the same for the whole table. */
  show(columns, brushes) {
    if (!this.dragged) this.brushes = { ...brushes };
    for (const [name, figure] of this.figures) if (!(name in columns)) { figure.remove(); this.figures.delete(name); }
    for (const [name, data] of Object.entries(columns)) {
      const whole = this.behind[name] ?? data;
      let figure = this.figures.get(name);
      if (figure && data.kind === "range") { this.redraw(figure, name, data, whole); continue; } // it may be under the pointer
      const made = data.kind === "range" ? this.range(name, data, whole) : this.values(name, data, whole);
      if (figure) figure.replaceWith(made);
      this.figures.set(name, made);
    }
    for (const name of Object.keys(columns)) this.place.append(this.figures.get(name)); // moves nothing that is in order
  }

  frame(name, note) {
    const figure = document.createElement("figure");
    figure.className = "histogram";
    figure.dataset.name = name;
    const caption = document.createElement("figcaption");
    caption.append(span(name), span(note, "soft"));
    figure.append(caption);
    return figure;
  }

  set(name, brush, settled = true) {
    if (brush) this.brushes[name] = brush; else delete this.brushes[name];
    this.brushed(this.brushes, settled);
  }

  // ---- numbers

  range(name, data, whole) {
    const figure = this.frame(name, "");
    const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 2}`, preserveAspectRatio: "none", role: "img", "aria-label": `histogram of ${name}; the fields below choose a range` });
    figure.append(svg, this.ends(name, whole));
    this.redraw(figure, name, data, whole);
    this.draggable(figure, svg, name);
    return figure;
  }

  redraw(figure, name, data, whole) {
    const svg = figure.querySelector("svg");
    figure.querySelector("figcaption .soft").textContent = data.missing ? `${data.missing.toLocaleString("en")} missing` : "";
    figure.extent = [whole.edges[0], whole.edges.at(-1)];
    figure.edges = whole.edges;
    const parts = [path(whole, figure.extent, "behind"), path(data, figure.extent, "front"), shape("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT })];
    const brush = this.brushes[name];
    if (brush) parts.push(band(brush, figure.extent));
    svg.replaceChildren(...parts);
    const [low, high] = figure.querySelectorAll("input");
    if (document.activeElement !== low) low.value = short(brush?.[0] ?? figure.extent[0]);
    if (document.activeElement !== high) high.value = short(brush?.[1] ?? figure.extent[1]);
  }

  ends(name, whole) {
    const row = document.createElement("div");
    row.className = "ends";
    for (const which of ["lowest", "highest"]) {
      const input = document.createElement("input");
      input.setAttribute("aria-label", `${which} ${name}`);
      input.inputMode = "decimal";
      input.addEventListener("change", () => this.typed(row, name, whole));
      row.append(input);
    }
    return row;
  }

  typed(row, name, whole) {
    const [low, high] = [...row.querySelectorAll("input")].map((i, n) => (i.value.trim() === "" ? whole.edges.at(n - 1 ? 0 : -1) : Number(i.value)));
    const ends = [short(whole.edges[0]), short(whole.edges.at(-1))];
    const asWhole = [...row.querySelectorAll("input")].every((i, n) => i.value.trim() === "" || i.value === ends[n]);
    if (asWhole) this.set(name, null);
    else if (Number.isFinite(low) && Number.isFinite(high)) this.set(name, [Math.min(low, high), Math.max(low, high)]);
  }

  draggable(figure, svg, name) {
    let from = null;
    const value = (event) => {
      const box = svg.getBoundingClientRect();
      const share = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
      return figure.extent[0] + share * (figure.extent[1] - figure.extent[0]);
    };
    const brush = (event) => {
      const [low, high] = [from, value(event)].sort((a, b) => a - b);
      return within(low, high, figure.edges);
    };
    svg.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      from = value(event);
      this.dragged = true;
      svg.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    svg.addEventListener("pointermove", (event) => {
      if (from === null) return;
      this.brushes[name] = brush(event);
      svg.querySelector(".brush")?.remove();
      svg.append(band(this.brushes[name], figure.extent));
      this.brushed(this.brushes, false);
    });
    svg.addEventListener("pointerup", (event) => {
      if (from === null) return;
      this.dragged = false;
      const moved = Math.abs(value(event) - from) > (figure.extent[1] - figure.extent[0]) / 100;
      this.set(name, moved ? brush(event) : null);
      from = null;
    });
    svg.addEventListener("pointercancel", () => { from = null; this.dragged = false; });
  }

  // ---- values

  values(name, data, whole) {
    const figure = this.frame(name, data.distinct > 12 ? `${data.distinct.toLocaleString("en")} values` : "");
    const counts = new Map(data.values.map((v) => [v.value, v.n]));
    const listed = whole.values.slice(0, 12);
    // Few values keep the order in which people count; of many, the most frequent come first.
    if (whole.distinct <= 12) listed.sort((a, b) => a.text.localeCompare(b.text, "en", { numeric: true }));
    const chosen = this.brushes[name] ?? [];
    const [most, mostBehind] = [Math.max(1, ...data.values.map((v) => v.n)), Math.max(1, ...whole.values.map((v) => v.n))];
    const list = document.createElement("ul");
    list.className = "values";
    for (const { value, text, n } of listed) {
      const now = counts.get(value) ?? 0;
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.disabled = value === null;
      button.setAttribute("aria-pressed", chosen.includes(value));
      const svg = shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
      svg.append(shape("rect", { class: "behind", width: 100 * n / mostBehind, height: 10 }), shape("rect", { class: "front", width: 100 * now / most, height: 10 }));
      button.append(svg, span(text), span(now.toLocaleString("en")));
      button.title = text;
      button.addEventListener("click", () => {
        const rest = chosen.includes(value) ? chosen.filter((v) => v !== value) : [...chosen, value];
        this.set(name, rest.length ? rest : null);
      });
      item.append(button);
      list.append(item);
    }
    figure.append(list);
    return figure;
  }
}

function span(text, className = "") {
  const made = document.createElement("span");
  made.textContent = text;
  made.className = className;
  return made;
}

/** Bars as one path. Each drawing has its own scale, so that the shape of a small selection can be seen. */
function path({ edges, counts }, [low, high], className) {
  const most = Math.max(1, ...counts);
  const x = (v) => (v - low) / ((high - low) || 1) * WIDTH;
  const bars = counts.map((n, i) => {
    if (!n) return "";
    const [left, right] = [x(edges[i]), x(edges[i + 1])];
    const y = HEIGHT - Math.max(n / most * (HEIGHT - 2), 0.8);
    return `M${left.toFixed(2)} ${HEIGHT}V${y.toFixed(2)}H${Math.max(right - 0.6, left + 0.5).toFixed(2)}V${HEIGHT}Z`;
  });
  return shape("path", { class: className, d: bars.join("") });
}

function band([low, high], [first, last]) {
  const x = (v) => Math.max(0, Math.min(1, (v - first) / ((last - first) || 1))) * WIDTH;
  return shape("rect", { class: "brush", x: x(low), y: 0, width: Math.max(x(high) - x(low), 1), height: HEIGHT });
}

/** Whole bins: a range that begins within one takes it as a whole, so that what is seen is what is selected. */
function within(low, high, edges) {
  const first = edges.findLastIndex((e) => e <= low);
  const last = edges.findIndex((e) => e >= high);
  return [edges[Math.max(first, 0)], edges[last < 0 ? edges.length - 1 : last]];
}
