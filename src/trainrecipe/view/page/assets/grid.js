// A list of any length of which only the visible part is in the document. Rows come in blocks, on demand.
const BLOCK = 60;
const KEPT = 40; // blocks
const TALLEST = 8_000_000; // pixels: browsers draw nothing beyond some 16 to 33 million
const ROW = 30;
const CELL = { image: [104, 138], line: [170, 134], text: [236, 140] };

export class Grid {
  /** `fetchBlock(offset, limit)` resolves to {total, rows, columns, kind}; `open(row, at)` is called by Enter and click, `picture(row)` is the address of an image. */
  constructor(scroller, { fetchBlock, open, sortBy, picture }) {
    Object.assign(this, { scroller, fetchBlock, open, sortBy, picture });
    this.space = scroller.querySelector("#space");
    this.heading = scroller.querySelector("#heading");
    this.cells = new Map();
    this.active = 0;
    this.clear();
    scroller.addEventListener("scroll", () => this.later(), { passive: true });
    scroller.addEventListener("keydown", (event) => this.keyed(event));
    this.space.addEventListener("click", (event) => this.clicked(event));
    new ResizeObserver(() => { this.laidOut(); this.draw(); }).observe(scroller);
  }

  clear() {
    this.blocks = new Map();
    this.asked = new Set();
    this.era = (this.era ?? 0) + 1; // answers to what was asked before are dropped
    this.total = 0;
  }

  /** Show a selection from position `at` on, of which `first` is a block that is there already. */
  show(first, offset, { view, sort, descending, at = 0 }) {
    this.clear();
    Object.assign(this, { view, sort, descending, columns: first.columns, numbers: first.numbers, kind: first.kind, total: first.total });
    this.blocks.set(offset / BLOCK, first.rows);
    this.active = Math.min(at, Math.max(first.total - 1, 0));
    for (const cell of this.cells.values()) cell.remove();
    this.cells.clear();
    this.head();
    this.laidOut();
    this.scroller.scrollTop = 0;
    if (at) this.reveal(this.active, true);
    this.draw();
  }

  laidOut() {
    const list = this.view === "list";
    const [width, height] = list ? [0, ROW] : CELL[this.kind || "text"];
    const room = this.scroller.clientWidth - 12;
    this.across = list ? 1 : Math.max(1, Math.floor(room / width));
    this.cellWidth = list ? Math.max(room + 12, (this.columns?.length ?? 0) * 112) : Math.floor(room / this.across);
    this.cellHeight = !list && this.kind === "image" ? this.cellWidth + height - width : height;
    this.lines = Math.ceil(this.total / this.across);
    this.full = this.lines * this.cellHeight;
    this.tall = Math.min(this.full, TALLEST);
    this.space.style.height = `${this.tall}px`;
    this.space.style.width = list ? `${this.cellWidth}px` : "";
    this.placed = -1;
  }

  /** How far the top of the window is into the full height, which may be taller than the document can be. */
  get top() {
    const seen = this.scroller.clientHeight;
    return this.full <= TALLEST ? this.scroller.scrollTop
      : this.scroller.scrollTop / Math.max(this.tall - seen, 1) * Math.max(this.full - seen, 1);
  }

  later() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  draw() {
    if (!this.total) { for (const cell of this.cells.values()) cell.remove(); this.cells.clear(); return; }
    const top = this.top;
    const first = Math.max(0, Math.floor(top / this.cellHeight) - 1) * this.across;
    const last = Math.min(this.total, (Math.ceil((top + this.scroller.clientHeight) / this.cellHeight) + 1) * this.across);
    for (const [at, cell] of this.cells) if (at < first || at >= last) { cell.remove(); this.cells.delete(at); }
    const shift = this.scroller.scrollTop - top;
    for (let at = first; at < last; at++) {
      const row = this.blocks.get(Math.floor(at / BLOCK))?.[at % BLOCK];
      let cell = this.cells.get(at);
      if (!cell || (row && !cell.dataset.row)) {
        const made = this.cell(at, row);
        if (cell) cell.replaceWith(made); else this.space.append(made);
        this.cells.set(at, made);
        cell = made;
      }
      cell.style.transform = `translate(${(at % this.across) * this.cellWidth}px, ${Math.floor(at / this.across) * this.cellHeight + shift}px)`;
      cell.style.width = `${this.cellWidth}px`;
      cell.style.height = `${this.cellHeight}px`;
    }
    for (let b = Math.floor(first / BLOCK); b <= Math.floor((last - 1) / BLOCK); b++) this.need(b);
    this.mark();
  }

  async need(block) {
    if (this.blocks.has(block) || this.asked.has(block)) return;
    const era = this.era;
    this.asked.add(block);
    // While the bar is dragged past, blocks that are already out of sight are not asked for.
    await new Promise((resolve) => setTimeout(resolve, 30));
    const seen = [...this.cells.keys()].some((at) => Math.floor(at / BLOCK) === block);
    try {
      if (!seen || era !== this.era) return;
      const answer = await this.fetchBlock(block * BLOCK, BLOCK);
      if (era !== this.era) return;
      this.blocks.set(block, answer.rows);
      if (this.blocks.size > KEPT) this.blocks.delete([...this.blocks.keys()].reduce((a, b) => (Math.abs(b - block) > Math.abs(a - block) ? b : a)));
      this.draw();
    } catch { /* the page says what went wrong; the next scroll asks again */ } finally {
      if (era === this.era) this.asked.delete(block);
    }
  }

  // ---- one cell

  cell(at, row) {
    const cell = document.createElement("div");
    cell.className = this.view === "list" ? "cell line-of" : "cell";
    cell.id = `at-${at}`;
    cell.setAttribute("role", "option");
    cell.setAttribute("aria-setsize", this.total);
    cell.setAttribute("aria-posinset", at + 1);
    cell.dataset.at = at;
    if (!row) return cell;
    cell.dataset.row = row.row;
    const says = [row.label, row.predicted && `predicted ${row.predicted}`, row.suggested && `rather ${row.suggested}`, row.status, row.key].filter(Boolean).join(", ");
    cell.setAttribute("aria-label", says);
    cell.title = says;
    if (this.view === "list") row.cells.forEach((text, i) => cell.append(words("span", text, this.numbers[i] ? "w amount" : "w")));
    else this.filled(cell, row);
    return cell;
  }

  filled(cell, row) {
    if (row.thumb) {
      const canvas = drawn(row.thumb, this.kind);
      cell.append(canvas);
      if (row.kept) draw(canvas, this.picture(row.row));
    }
    else cell.append(words("div", row.text || row.status || "", "says"));
    const name = words("span", "", "name");
    name.append(words("b", row.label), " ");
    if (row.predicted) name.append(words("span", `→ ${row.predicted} `, "wrong"));
    if (row.suggested && !row.predicted) name.append(words("span", `? ${row.suggested} `, "wrong"));
    if (row.status) name.append(words("span", row.status, "wrong"));
    cell.append(name, words("span", row.sorted || row.key, "name"));
  }

  head() {
    this.heading.hidden = this.view !== "list";
    this.heading.replaceChildren(...(this.view === "list" ? this.columns : []).map((name, i) => {
      const button = words("button", name === this.sort ? `${name} ${this.descending ? "↓" : "↑"}` : name, this.numbers[i] ? "w amount" : "w");
      button.type = "button";
      button.title = `sort by ${name}`;
      if (name === this.sort) button.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      button.addEventListener("click", () => this.sortBy(name));
      return button;
    }));
  }

  // ---- moving

  mark() {
    for (const [at, cell] of this.cells) {
      cell.classList.toggle("active", at === this.active);
      cell.setAttribute("aria-selected", at === this.active);
    }
    this.scroller.setAttribute("aria-activedescendant", `at-${this.active}`);
  }

  reveal(at, middle = false) {
    const y = Math.floor(at / this.across) * this.cellHeight;
    const seen = this.scroller.clientHeight - (this.view === "list" ? ROW : 0);
    const top = this.top;
    let wanted = top;
    if (middle) wanted = y - (seen - this.cellHeight) / 2;
    else if (y < top) wanted = y;
    else if (y + this.cellHeight > top + seen) wanted = y + this.cellHeight - seen;
    if (wanted === top) return;
    wanted = Math.max(0, Math.min(wanted, this.full - seen));
    const whole = this.scroller.clientHeight;
    this.scroller.scrollTop = this.full <= TALLEST ? wanted : wanted / Math.max(this.full - whole, 1) * Math.max(this.tall - whole, 1);
  }

  keyed(event) {
    if (event.target !== this.scroller || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.cellHeight) - 1) * this.across;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.across, ArrowUp: -this.across, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter") { const row = this.row(); if (row) this.open(row.row, this.active); }
    else if (event.key in steps) this.move(this.active + steps[event.key]);
    else return;
    event.preventDefault();
  }

  move(at) {
    this.active = Math.max(0, Math.min(this.total - 1, at));
    this.reveal(this.active);
    this.draw();
  }

  /** The example that the keys act on; undefined while it is not there yet. */
  row() {
    return this.blocks.get(Math.floor(this.active / BLOCK))?.[this.active % BLOCK];
  }

  clicked(event) {
    const cell = event.target.closest(".cell");
    if (!cell?.dataset.row) return;
    this.active = Number(cell.dataset.at);
    this.mark();
    this.open(Number(cell.dataset.row), this.active, event);
  }
}

function words(tag, text, className) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

/** The image itself takes the place of the small grey thumbnail once it is there. */
function draw(canvas, address) {
  const image = new Image();
  image.alt = "";
  image.decoding = "async";
  image.addEventListener("load", () => canvas.replaceWith(image));
  image.src = address;
}

/** A thumbnail: grey levels, or a curve through them. */
function drawn([height, width, text], kind) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-hidden", "true");
  const pen = canvas.getContext("2d");
  if (kind === "line") {
    Object.assign(canvas, { width: 320, height: 160, className: "line" });
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--c1");
    pen.lineWidth = 3;
    pen.beginPath();
    bytes.forEach((v, i) => pen.lineTo(4 + i / Math.max(bytes.length - 1, 1) * 312, 152 - v / 255 * 144));
    pen.stroke();
    return canvas;
  }
  Object.assign(canvas, { width, height });
  const pixels = new Uint8ClampedArray(width * height * 4);
  for (let i = 0; i < bytes.length; i++) { pixels.fill(bytes[i], 4 * i, 4 * i + 3); pixels[4 * i + 3] = 255; }
  pen.putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}
