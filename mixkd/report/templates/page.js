"use strict";

// Sorting: ascending, descending, as it was. Numbers before texts, missing values last.
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

function key(cell) {
  if (cell.dataset.value !== undefined) return [0, Number(cell.dataset.value)];
  const text = cell.textContent.trim();
  return cell.dataset.missing !== undefined || text === "" ? [2, 0] : [1, text];
}

function compare(a, b, sign) {
  if (a[0] !== b[0]) return a[0] === 2 || b[0] === 2 ? a[0] - b[0] : sign * (a[0] - b[0]);
  if (a[0] === 1) return sign * a[1].localeCompare(b[1], "en", { numeric: true });
  return sign * (a[1] > b[1] ? 1 : a[1] < b[1] ? -1 : 0);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const order = NEXT[head.getAttribute("aria-sort") ?? "none"];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (order === "none") return body.append(...original);
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const keyed = [...body.rows].map((row) => [key(row.cells[column]), row]);
      keyed.sort((a, b) => compare(a[0], b[0], sign));
      body.append(...keyed.map((each) => each[1]));
    });
  });
}

// A link to a run opens its details.
function reveal(hash) {
  const target = hash.length > 1 && document.getElementById(hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

addEventListener("hashchange", () => reveal(location.hash));
reveal(location.hash);

// A number of several runs opens a list of them.
const panel = document.getElementById("sources");

function list(link) {
  const items = link.dataset.runs.split(" ").map((id) => {
    const item = document.createElement("li");
    const to = document.createElement("a");
    to.href = `#${id}`;
    to.textContent = document.querySelector(`#${id} > summary`).textContent;
    item.append(to);
    return item;
  });
  const heading = document.createElement("p");
  heading.textContent = link.title;
  const all = document.createElement("ul");
  all.append(...items);
  panel.replaceChildren(heading, all);
  panel.showPopover();
  const box = link.getBoundingClientRect();
  const room = document.documentElement.clientWidth - panel.offsetWidth - 8;
  panel.style.left = `${Math.max(8, Math.min(box.left, room))}px`;
  panel.style.top = `${box.bottom + scrollY + 4}px`;
  panel.querySelector("a").focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.dataset.runs && panel.showPopover) {
    event.preventDefault();
    list(link);
  } else {
    if (panel.contains(link)) panel.hidePopover();
    reveal(link.hash);
  }
});
