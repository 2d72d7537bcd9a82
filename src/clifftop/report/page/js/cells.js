// The table of cells. Only the rows in view are in the document, so ten thousand stay quick.

const ROW = 29; // the height of a row in pixels, as cells.css has it
const SPARE = 12; // rows kept above and below the view
const ON_PAPER = 100;
const SAMPLE = 200;

class Cells {
  constructor(element, content) {
    this.columns = content.columns.map((column) => ({ ...column, values: unpacked(column.values) }));
    this.ids = unpacked(content.cells);
    this.order = this.ids.map((_, row) => row);
    this.shown = this.order;
    this.sort = null;
    this.box = element.querySelector(".scroll");
    this.head = element.querySelector("thead");
    this.body = element.querySelector("tbody");
    this.count = document.getElementById("cells-count");
    this.makeHead();
    this.box.addEventListener("scroll", () => this.show(), { passive: true });
    this.body.addEventListener("click", (event) => this.clicked(event));
    this.box.addEventListener("keydown", (event) => this.pressed(event));
    picked.listeners.push((source) => this.highlight(source));
    this.filter("");
  }

  makeHead() {
    const row = document.createElement("tr");
    this.columns.forEach((column, place) => {
      const header = document.createElement("th");
      header.scope = "col";
      if (column.kind === "text") header.className = "words";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = column.title;
      if (column.hint) button.title = column.hint;
      button.addEventListener("click", () => this.sortBy(place));
      header.append(button);
      header.style.minWidth = `${this.widest(column)}ch`;
      row.append(header);
    });
    this.head.replaceChildren(row);
  }

  // The longest text of some rows, so that columns keep their width while others scroll by.
  widest({ kind, values }) {
    const step = Math.max(1, Math.floor(values.length / SAMPLE));
    let longest = 0;
    for (let row = 0; row < values.length; row += step) longest = Math.max(longest, textOf(kind, values[row]).length);
    return Math.min(longest, 40) + 2;
  }

  sortBy(place) {
    const rising = !(this.sort?.place === place && this.sort.rising);
    this.sort = { place, rising };
    [...this.head.rows[0].cells].forEach((header, other) => {
      if (other === place) header.setAttribute("aria-sort", rising ? "ascending" : "descending");
      else header.removeAttribute("aria-sort");
    });
    const { values } = this.columns[place];
    const sign = rising ? 1 : -1;
    this.shown = [...this.shown].sort((a, b) => ordered(values[a], values[b], sign) || a - b);
    this.box.scrollTop = 0;
    this.show();
  }

  filter(typed) {
    this.shown = this.order.filter(rowTest(this.columns, typed));
    if (this.sort) {
      this.sort.rising = !this.sort.rising;
      this.sortBy(this.sort.place);
    }
    const all = this.order.length.toLocaleString("en-US");
    const some = this.shown.length.toLocaleString("en-US");
    this.count.textContent = some === all ? `${all} cells` : `${some} of ${all} cells`;
    this.box.scrollTop = 0;
    this.show();
  }

  show() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - SPARE);
    const seen = Math.ceil(this.box.clientHeight / ROW) + 2 * SPARE;
    this.fill(first, Math.min(this.shown.length, first + seen));
  }

  printed() {
    this.fill(0, Math.min(this.shown.length, ON_PAPER));
    const left = this.shown.length - ON_PAPER;
    if (left <= 0) return;
    const row = this.body.insertRow();
    const cell = row.insertCell();
    cell.colSpan = this.columns.length;
    cell.className = "words";
    cell.textContent = `and ${left.toLocaleString("en-US")} more`;
  }

  fill(first, end) {
    const rows = [];
    for (let place = first; place < end; place += 1) rows.push(this.row(place));
    this.body.replaceChildren(spacer(first), ...rows, spacer(this.shown.length - end));
    this.body.parentElement.setAttribute("aria-rowcount", String(this.shown.length + 1));
  }

  row(place) {
    const row = this.shown[place];
    const made = document.createElement("tr");
    made.dataset.cell = String(this.ids[row]);
    made.setAttribute("aria-rowindex", String(place + 2));
    made.setAttribute("aria-selected", String(picked.cells.has(this.ids[row])));
    for (const { kind, values } of this.columns) {
      const cell = document.createElement("td");
      cell.textContent = textOf(kind, values[row]);
      if (kind === "text") cell.className = "words";
      made.append(cell);
    }
    return made;
  }

  clicked(event) {
    const row = event.target.closest("tr[data-cell]");
    if (!row) return;
    const cell = Number(row.dataset.cell);
    const more = event.shiftKey || event.ctrlKey || event.metaKey;
    const others = more ? [...picked.cells].filter((one) => one !== cell) : [];
    pick(picked.cells.has(cell) ? others : [...others, cell], this);
  }

  // Up and down move the pick from row to row, in the order shown.
  pressed(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target !== this.box || !this.shown.length) return;
    event.preventDefault();
    const now = this.shown.findIndex((row) => picked.cells.has(this.ids[row]));
    const next = now < 0 ? 0 : Math.min(this.shown.length - 1, Math.max(0, now + step));
    pick([this.ids[this.shown[next]]], null);
  }

  highlight(source) {
    if (source !== this) this.reveal();
    this.show();
  }

  reveal() {
    const place = this.shown.findIndex((row) => picked.cells.has(this.ids[row]));
    if (place < 0) return;
    const top = place * ROW;
    const head = this.head.getBoundingClientRect().height;
    const inView = top >= this.box.scrollTop && top + ROW + head <= this.box.scrollTop + this.box.clientHeight;
    if (!inView) this.box.scrollTop = Math.max(0, top - this.box.clientHeight / 2);
  }

  facts(cell) {
    const row = this.ids.indexOf(cell);
    if (row < 0) return [];
    return this.columns
      .map((column) => [column.title, textOf(column.kind, column.values[row])])
      .filter(([, text]) => text !== "" && text !== MISSING);
  }
}

function spacer(rows) {
  const row = document.createElement("tr");
  row.className = "spacer";
  row.setAttribute("aria-hidden", "true");
  row.style.height = `${rows * ROW}px`;
  return row;
}

// What is missing comes last, whichever way the rest is sorted.
function ordered(a, b, sign) {
  const none = (value) => value === null || value === undefined;
  if (none(a) || none(b)) return none(a) - none(b);
  if (a === b) return 0;
  return sign * (a < b ? -1 : 1);
}
