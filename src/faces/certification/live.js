// Keeps the rows of a run as they are: each event holds what has changed. Without it the page works as well; it is then
// as it was when it was opened.
"use strict";
const live = document.getElementById("live");
const source = new EventSource(live.dataset.events);
const byId = id => document.getElementById(id);
source.addEventListener("run", event => {
  const run = JSON.parse(event.data);
  const told = [];
  for (const now of run.cases) {
    const row = byId("case-" + now.case);
    const badge = row && row.querySelector(".badge");
    if (!row) continue;
    const more = row.querySelector(".more");
    if (more.innerHTML !== now.more) more.innerHTML = now.more;
    if (badge.textContent === now.verdict) continue;
    badge.textContent = now.verdict;
    badge.className = "badge " + now.class;
    told.push("Case " + now.case + ": " + now.verdict);
  }
  byId("summary").innerHTML = run.summary;
  if (told.length) live.textContent = told.length > 5 ? told.length + " cases have changed" : told.join(". ");
  document.documentElement.dataset.events = Number(document.documentElement.dataset.events || 0) + 1;
  if (run.state === "finished") { source.close(); location.reload(); }
});
