"use strict";
(() => {
  const root = document.documentElement;

  // Theme: as the system has it, until the reader says otherwise. A page opened from a file may have no storage.
  const remember = (value) => { try { localStorage.setItem("warmth-theme", value); } catch { /* not kept */ } };
  const recall = () => { try { return localStorage.getItem("warmth-theme"); } catch { return null; } };
  const order = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const show = (theme) => {
    if (theme === "auto") root.removeAttribute("data-theme"); else root.dataset.theme = theme;
    button.querySelector("span").textContent = theme;
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = order[(order.indexOf(root.dataset.theme || "auto") + 1) % order.length];
    show(next);
    remember(next);
  });
  show(order.includes(recall()) ? recall() : "auto");

  // Tables sort by the button in each heading; rows without a value stay last either way.
  for (const heading of document.querySelectorAll("th > button")) {
    heading.addEventListener("click", () => {
      const cell = heading.parentElement, table = cell.closest("table"), column = cell.cellIndex;
      const down = cell.getAttribute("aria-sort") === "ascending";
      for (const other of cell.parentElement.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const numeric = cell.classList.contains("number");
      const value = (row) => {
        const data = row.cells[column];
        return numeric ? (data.dataset.sort === undefined ? null : Number(data.dataset.sort)) : data.textContent;
      };
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === null || y === null) return (x === null) - (y === null);
        const less = numeric ? x - y : x.localeCompare(y, undefined, {numeric: true});
        return down ? -less : less;
      });
      body.append(...rows);
    });
  }

  // A figure's point opens the rows behind it; whatever they hold is set as text, never as markup.
  const {points, rows} = JSON.parse(document.getElementById("points").textContent);
  const dialog = document.getElementById("rows");
  const add = (parent, tag, text, kind) => {
    const element = parent.appendChild(document.createElement(tag));
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const open = (point) => {
    const shown = point.rows.length < point.count ? `${point.rows.length} of them, drawn by seed 0` : "all of them";
    dialog.querySelector("h2").textContent = point.title;
    const others = point.kind === "pairs" ? ", and those without a scored partner" : "";
    dialog.querySelector("p").textContent =
      `${point.count.toLocaleString("en")} ${point.kind} behind this point; here ${shown}. All${others}:`;
    dialog.querySelector("pre").textContent = point.command;
    const list = dialog.querySelector("div");
    list.replaceChildren();
    for (const row of point.rows.map((place) => rows[place])) {
      const item = add(list, "article", "");
      const heading = add(item, "h3", "");
      add(heading, "span", row.question, "id");
      heading.append(row.where);
      add(item, "p", row.message, "asked");
      for (const [arm, label, text] of row.said) {
        const line = add(item, "p", "");
        add(line, "b", `${arm}, ${label}: `);
        line.append(text);
      }
    }
    dialog.showModal();
    dialog.scrollTop = 0;
  };
  let live = 0;
  for (const mark of document.querySelectorAll('svg [id*="-point-"]')) {
    const point = points[mark.id.match(/-(point-[0-9a-f]{10})/)?.[1]];
    if (!point) continue;
    live += 1;
    const box = mark.getBBox(), hit = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    const place = {cx: box.x + box.width / 2, cy: box.y + box.height / 2, r: 8, fill: "transparent"};
    for (const [name, value] of Object.entries(place)) hit.setAttribute(name, value);
    mark.append(hit);
    mark.setAttribute("tabindex", "0");
    mark.setAttribute("role", "button");
    mark.setAttribute("aria-label", `${point.title}: ${point.count} ${point.kind}`);
    mark.classList.add("point");
    mark.addEventListener("click", () => open(point));
    mark.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      open(point);
    });
  }
  document.getElementById("hint").hidden = live === 0;
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  const form = document.getElementById("filter");
  const examples = [...document.querySelectorAll(".example")];
  const filter = () => {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = form.elements.kind.value;
    let shown = 0;
    for (const item of examples) {
      const text = item.textContent.toLowerCase();
      item.hidden = (kind && item.dataset.kind !== kind) || !words.every((word) => text.includes(word));
      shown += !item.hidden;
    }
    form.querySelector("output").textContent = `${shown} of ${examples.length}`;
  };
  form.hidden = examples.length === 0;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
