/* The book's search: the sections that hold every word of the query, those first that explain it.

BOOK, of sections.js, lists the pages: {page, title, sections: [{id, title, text, stressed, code}]}. */

const query = new URLSearchParams(location.search).get("q") ?? "";
const words = query.match(/[\p{L}\p{N}]+/gu) ?? [];
const starts = words.map((word) => new RegExp(`(?<![\\p{L}\\p{N}])${word}`, "giu")); // of a word of the text
const LENGTH = 240; // of a snippet, in letters

function count(text, start) {
  return text.match(start)?.length ?? 0;
}

/* How well a section answers to one word: by its title, by what it stresses, as terms are where they are explained. */
function score(section, start) {
  const stressed = section.stressed.some((term) => term.search(start) === 0);
  const said = Math.min(count(section.text, start), 9) + Math.min(count(section.code, start), 1) / 2;
  return said + 20 * (section.title.search(start) >= 0) + 10 * stressed;
}

function found() {
  const sections = BOOK.flatMap((page) => page.sections.map((section) => ({ ...section, page })));
  const is = query.trim().toLowerCase();
  for (const section of sections) {
    section.scores = starts.map((start) => score(section, start));
    section.score = section.scores.reduce((a, b) => a + b, 100 * (section.title.toLowerCase() === is));
  }
  return sections.filter((of) => words.length && of.scores.every(Boolean)).sort((a, b) => b.score - a.score);
}

/* The part of a text around its first hit, with every hit marked. */
function snippet(text) {
  const first = Math.min(...starts.map((start) => text.search(start)).filter((at) => at >= 0)); // Infinity without any
  const begin = LENGTH / 2 < first && first < Infinity ? text.lastIndexOf(" ", first - LENGTH / 3) + 1 : 0;
  const shown = text.slice(begin, begin + LENGTH);
  const element = document.createElement("p");
  const hits = new RegExp(starts.map((start) => start.source).join("|"), "giu");
  let done = 0;
  for (const hit of shown.matchAll(hits)) {
    element.append(shown.slice(done, hit.index), Object.assign(document.createElement("mark"), { textContent: hit[0] }));
    done = hit.index + hit[0].length;
  }
  element.append(shown.slice(done), text.length > begin + LENGTH ? " ..." : "");
  return element;
}

function item(section) {
  const link = document.createElement("a");
  link.href = `${section.page.page}#${section.id}`;
  link.textContent = section.title;
  const entry = document.createElement("li");
  entry.append(link);
  if (section.title !== section.page.title) entry.append(` in ${section.page.title}`);
  const hit = (text) => starts.some((start) => text.search(start) >= 0);
  entry.append(snippet(hit(section.code) && !hit(section.text) ? section.code : section.text));
  return entry;
}

const results = document.getElementById("search-results");
const sections = found();
for (const field of document.querySelectorAll("form.bd-search input")) field.value = query;
if (words.length) {
  const summary = document.createElement("p");
  const many = sections.length === 1 ? "1 section has" : `${sections.length || "No"} sections have`;
  summary.textContent = `${many} ${words.length === 1 ? "this word" : "these words"}.`;
  const list = document.createElement("ol");
  list.append(...sections.map(item));
  results.append(summary, list);
}
