(() => {
  const details = JSON.parse(document.getElementById("details").textContent);
  const form = document.getElementById("filters");
  const rows = [...document.querySelectorAll("#lines > tbody > tr")];
  const tiles = [...document.querySelectorAll(".tile")];
  const shown = document.getElementById("shown");
  const value = (name) => (form.elements[name] ? form.elements[name].value : "");

  function inside(row) {
    const next = row.nextElementSibling;
    return next && next.classList.contains("inside") ? next : null;
  }

  function apply() {
    const text = value("text").toLowerCase();
    let count = 0;
    for (const row of rows) {
      const fits =
        ["verdict", "reference", "block"].every((name) => !value(name) || row.dataset[name] === value(name)) &&
        (!text || row.textContent.toLowerCase().includes(text));
      row.hidden = !fits;
      if (inside(row)) inside(row).hidden = !fits;
      count += fits;
    }
    shown.textContent = count === rows.length ? `${count} shown` : `${count} of ${rows.length} shown`;
    for (const tile of tiles) tile.setAttribute("aria-pressed", String(tile.dataset.verdict === value("verdict")));
  }

  function cell(tag, text, numeric) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (numeric) made.className = "n";
    return made;
  }

  function table(outputs) {
    const made = document.createElement("table");
    const names = ["Output", "Type", "Verdict", "R or rel.", "max |Δ|", "at", "Cause"];
    const numeric = [false, false, false, true, true, false, false];
    const head = made.createTHead().insertRow();
    names.forEach((name, place) => head.append(cell("th", name, numeric[place])));
    const body = made.createTBody();
    for (const output of outputs) {
      const row = body.insertRow();
      output.forEach((text, place) => row.append(cell("td", text, numeric[place])));
    }
    return made;
  }

  function toggle(row, button) {
    const open = inside(row);
    button.setAttribute("aria-expanded", String(!open));
    if (open) return open.remove();
    const made = document.createElement("tr");
    made.className = "inside";
    const place = made.insertCell();
    place.colSpan = row.cells.length;
    place.append(table(details[Number(row.dataset.line)]));
    row.after(made);
  }

  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const row of rows) {
    const button = row.querySelector(".open");
    button.addEventListener("click", () => toggle(row, button));
  }
  for (const tile of tiles) {
    tile.addEventListener("click", () => {
      const select = form.elements.verdict;
      select.value = select.value === tile.dataset.verdict ? "" : tile.dataset.verdict;
      apply();
      document.getElementById("lines").scrollIntoView({ block: "nearest" });
    });
  }
  apply();
})();
