"use strict";
(() => {
  const collator = new Intl.Collator("en", { numeric: true });

  function sortKey(row, column, numeric) {
    const cell = row.cells[column];
    if (!numeric) return cell.textContent.trim();
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  }

  // What is missing stays last in both directions.
  function compare(a, b, numeric, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (numeric ? a - b : collator.compare(a, b));
  }

  function sort(table, header) {
    const numeric = header.dataset.sort === "number";
    const order = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", order);
    const body = table.tBodies[0];
    const sign = order === "ascending" ? 1 : -1;
    const keyed = Array.from(body.rows, (row) => [sortKey(row, header.cellIndex, numeric), row]);
    keyed.sort((x, y) => compare(x[0], y[0], numeric, sign));
    body.append(...keyed.map((pair) => pair[1]));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const header of table.tHead.rows[0].cells) {
      header.querySelector("button").addEventListener("click", () => sort(table, header));
    }
  }

  // Paper cannot be unfolded.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    for (const details of opened) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    opened = [];
  });
})();
