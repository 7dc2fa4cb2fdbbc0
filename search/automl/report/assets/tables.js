// Tables that sort and filter.

// A column: {title, value: row -> number or text, text: row -> text or element, left}.
function makeTable(caption, columns, rows, { sorts = false, hideCaption = false, most = Infinity } = {}) {
  const body = make("tbody");
  let order = rows;
  const fill = () => {
    body.replaceChildren(...order.slice(0, most).map((row) => tableRow(columns, row)));
  };
  const heads = columns.map((column, place) => {
    const cell = make("th", { scope: "col", class: column.left ? "left" : null });
    if (!sorts) {
      cell.append(column.title);
      return cell;
    }
    const button = make("button", { type: "button", class: "sort" }, column.title);
    button.addEventListener("click", () => {
      const up = cell.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      order = sorted(order, columns[place], up);
      fill();
    });
    cell.append(button);
    return cell;
  });
  const head = make("thead", {}, make("tr", {}, heads));
  const table = make("table", {}, make("caption", { class: hideCaption ? "hidden" : null }, caption), head, body);
  fill();
  const wrap = make("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": caption }, table);
  wrap.showRows = (shown) => {
    order = shown;
    fill();
  };
  if (rows.length > most) {
    wrap.append(make("p", { class: "quiet" }, `The first ${most} of ${rows.length.toLocaleString("en")} rows.`));
  }
  return wrap;
}

function tableRow(columns, row) {
  return make(
    "tr",
    { class: row.rowClass || null },
    columns.map((column, place) => {
      const shown = column.text ? column.text(row) : String(column.value(row) ?? "–");
      const attributes = { class: column.left ? "left" : null };
      return place === 0
        ? make("th", { ...attributes, scope: "row" }, shown)
        : make("td", attributes, shown);
    }),
  );
}

function sorted(rows, column, up) {
  const sign = up ? 1 : -1;
  return [...rows].sort((one, other) => {
    const a = column.value(one);
    const b = column.value(other);
    const unknownA = a === null || a === undefined;
    const unknownB = b === null || b === undefined;
    if (unknownA || unknownB) return unknownA - unknownB;
    if (known(a) && known(b)) return sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  });
}

// A list of names with their values.
function pairs(caption, entries) {
  const rows = entries.filter(([, value]) => value !== "" && value !== null && value !== undefined);
  if (!rows.length) return null;
  return make(
    "div",
    { class: "pairs" },
    head(1, {}, caption),
    make("dl", {}, rows.map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
  );
}
