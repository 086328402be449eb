// Searches the pages in the browser, and opens the list of pages where there is room for it.
(() => {
  const MOST = 12;
  const base = document.body.dataset.base || ".";
  const field = document.getElementById("search");
  const list = document.getElementById("found");
  const pages = (window.halflightPages || []).map(([place, title, text]) => ({
    place,
    title,
    text,
    low: `${title} ${text}`.toLowerCase(),
  }));

  function found(words) {
    const rank = (page) => words.filter((word) => page.title.toLowerCase().includes(word)).length;
    return pages
      .filter((page) => words.every((word) => page.low.includes(word)))
      .sort((one, other) => rank(other) - rank(one))
      .slice(0, MOST);
  }

  function excerpt(page, word) {
    const plain = page.text.replace(/\s+/g, " ");
    const at = Math.max(0, plain.toLowerCase().indexOf(word) - 50);
    return plain.slice(at, at + 130);
  }

  function show() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    list.replaceChildren();
    list.hidden = words.length === 0;
    if (list.hidden) return;
    const hits = found(words);
    for (const page of hits) {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = `${base}/${page.place}`;
      link.textContent = page.title;
      const told = document.createElement("p");
      told.textContent = excerpt(page, words[0]);
      item.append(link, told);
      list.append(item);
    }
    if (hits.length === 0) {
      const item = document.createElement("li");
      item.textContent = "Nothing found.";
      list.append(item);
    }
  }

  field.addEventListener("input", show);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      field.value = "";
      show();
    }
    if (event.key === "Enter") list.querySelector("a")?.click();
  });

  const menu = document.querySelector(".pages details");
  const wide = window.matchMedia("(min-width: 60rem)");
  const fit = () => {
    menu.open = wide.matches;
  };
  wide.addEventListener("change", fit);
  fit();
  document.querySelector(".pages [aria-current]")?.scrollIntoView({ block: "nearest" });
  // What is wide scrolls by itself, also by keyboard.
  const reachable = (part, label) => {
    part.tabIndex = 0;
    part.setAttribute("role", "group");
    part.setAttribute("aria-label", label);
  };
  for (const part of document.querySelectorAll("main table, main pre")) {
    const frame = document.createElement("div");
    frame.className = "wide";
    reachable(frame, part.tagName === "PRE" ? "Listing" : "Table");
    part.replaceWith(frame);
    frame.append(part);
  }
  for (const part of document.querySelectorAll("main .math")) reachable(part, "Formula");
})();
