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
  // The view is in the address, so that a link or a reload shows it again: #point-0123456789&differ, #examples&kind=…&text=…
  const parsed = () => {
    const [place, ...words] = location.hash.slice(1).split("&");
    return {place, words: new URLSearchParams(words.join("&"))};
  };
  const write = (place, words) => {
    const rest = new URLSearchParams(Object.entries(words).filter(([, value]) => value)).toString();
    try { history.replaceState(null, "", `#${place}${rest && `&${rest}`}`); } catch { /* a page may not say where it is */ }
  };
  const tools = dialog.querySelector(".tools"), differ = dialog.querySelector(".differ");
  const marks = [];
  let current = -1;
  const differs = (row) => new Set(row.said.map(([, label]) => label)).size > 1;
  const list = (point) => {
    const place = dialog.querySelector("div");
    place.replaceChildren();
    const chosen = point.rows.map((number) => rows[number]).filter((row) => !differ.checked || differs(row));
    for (const row of chosen) {
      const item = add(place, "article", "");
      const heading = add(item, "h3", "");
      add(heading, "span", row.question, "id");
      heading.append(row.where);
      add(item, "p", row.message, "asked");
      for (const [arm, label, text] of row.said) {
        const line = add(item, "p", "");
        add(line, "b", `${arm}, `);
        add(line, "b", `${label}: `, `label ${/^[a-z]+$/.test(label) ? label : ""}`);
        line.append(text);
      }
    }
    if (!chosen.length) add(place, "p", "None of the rows shown here.", "asked");
  };
  const open = (number) => {
    current = number;
    const {id, point} = marks[number];
    const shown = point.rows.length < point.count ? `${point.rows.length} of them, drawn by seed 0` : "all of them";
    dialog.querySelector("h2").textContent = point.title;
    dialog.querySelector(".value").textContent = point.value;
    const others = point.kind === "pairs" ? ", and those without a scored partner" : "";
    dialog.querySelector(".about").textContent =
      `${point.count.toLocaleString("en")} ${point.kind} behind this point; here ${shown}. All${others}:`;
    dialog.querySelector("pre").textContent = point.command;
    tools.querySelector(".previous").disabled = number === 0;
    tools.querySelector(".next").disabled = number === marks.length - 1;
    list(point);
    write(id, {differ: differ.checked ? "1" : ""});
    tools.querySelector(".link").href = location.hash;
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };
  differ.addEventListener("change", () => open(current));
  tools.querySelector(".previous").addEventListener("click", () => open(current - 1));
  tools.querySelector(".next").addEventListener("click", () => open(current + 1));
  tools.querySelector(".link").addEventListener("click", (event) => event.preventDefault());
  dialog.addEventListener("close", () => write("", {}));
  for (const mark of document.querySelectorAll('svg [id*="-point-"]')) {
    const id = mark.id.match(/-(point-[0-9a-f]{10})/)?.[1], point = points[id];
    if (!point) continue;
    const number = marks.push({id, point, mark}) - 1;
    const box = mark.getBBox(), hit = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    const place = {cx: box.x + box.width / 2, cy: box.y + box.height / 2, r: 8, fill: "transparent"};
    for (const [name, value] of Object.entries(place)) hit.setAttribute(name, value);
    mark.append(hit);
    const words = [point.title, point.value, `${point.count} ${point.kind}`].filter(Boolean).join(": ");
    const tip = document.createElementNS("http://www.w3.org/2000/svg", "title");
    tip.textContent = words;
    mark.prepend(tip);
    mark.setAttribute("tabindex", "0");
    mark.setAttribute("role", "button");
    mark.setAttribute("aria-label", words);
    mark.classList.add("point");
    mark.addEventListener("click", () => open(number));
    mark.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      open(number);
    });
  }
  document.getElementById("hint").hidden = marks.length === 0;
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // The examples: found by words, by whether arms agree, and walked through one by one.
  const form = document.getElementById("filter");
  const examples = [...document.querySelectorAll(".example")];
  const visible = () => examples.filter((item) => !item.hidden);
  const filter = () => {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = form.elements.kind.value;
    for (const item of examples) {
      const text = item.textContent.toLowerCase();
      item.hidden = Boolean(kind && item.dataset.kind !== kind) || !words.every((word) => text.includes(word));
    }
    form.querySelector("output").textContent = `${visible().length} of ${examples.length}`;
  };
  const step = (by) => {
    const shown = visible(), at = shown.findIndex((item) => item.open);
    const next = shown[at < 0 ? (by > 0 ? 0 : shown.length - 1) : at + by];
    if (!next) return;
    for (const item of examples) item.open = item === next;
    next.scrollIntoView({block: "nearest"});
  };
  form.hidden = examples.length === 0;
  form.addEventListener("input", () => {
    filter();
    write("examples", {kind: form.elements.kind.value, text: form.elements.text.value});
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector(".previous").addEventListener("click", () => step(-1));
  form.querySelector(".next").addEventListener("click", () => step(1));

  // Words of the page's own: the first of each section explains itself to a pointer, a finger or the keyboard.
  const glossary = JSON.parse(document.getElementById("glossary").textContent);
  const names = Object.keys(glossary);
  const pattern = new RegExp(`\\b(${names.join("|")})s?\\b`);
  for (const section of document.querySelectorAll("main section")) {
    const seen = new Set();
    for (const place of section.querySelectorAll("p, th, figcaption, h2, h3")) {
      if (place.closest("details, .answer, svg, form")) continue;
      const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const match = node.data.toLowerCase().match(pattern);
        if (!match || seen.has(match[1])) continue;
        seen.add(match[1]);
        const word = node.splitText(match.index);
        const rest = word.splitText(match[0].length);
        const term = document.createElement("dfn");
        term.title = glossary[match[1]];
        word.replaceWith(term);
        term.append(word);
        walker.currentNode = rest;
      }
    }
  }

  // On a phone the arm that the answer is about comes first.
  const asked = document.querySelector(".answer").dataset.asked;
  if (asked && matchMedia("(max-width: 40rem)").matches) {
    for (const body of document.querySelectorAll("tbody")) {
      const rows = [...body.rows].filter((row) => row.querySelector(".marked")?.textContent === asked);
      body.prepend(...rows);
    }
  }

  // What the address names.
  const restore = () => {
    const {place, words} = parsed();
    if (place.startsWith("point-")) {
      const number = marks.findIndex((mark) => mark.id === place);
      differ.checked = words.get("differ") === "1";
      if (number >= 0) open(number);
    } else if (place === "examples" && (words.get("kind") || words.get("text"))) {
      form.elements.kind.value = words.get("kind") || "";
      form.elements.text.value = words.get("text") || "";
      document.getElementById("examples").scrollIntoView();
    }
    const named = place && document.getElementById(place);
    if (named instanceof HTMLDetailsElement) named.open = true;
    filter();
  };
  addEventListener("hashchange", restore);
  restore();
})();
