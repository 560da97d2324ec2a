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
