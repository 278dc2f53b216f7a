// Shows the page anew whenever the server tells of a change. All facts are in the page itself.
"use strict";
(() => {
  const live = document.getElementById("live");
  let running = false, again = false, lost = 0;

  async function refresh() {
    if (running) { again = true; return; }
    running = true;
    try {
      do {
        again = false;
        const answer = await fetch("./", { cache: "no-store" });
        if (!answer.ok) throw new Error(String(answer.status));
        show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      } while (again);
    } catch (error) {
      say("not live: the server does not answer");
    } finally {
      running = false;
    }
  }

  // What the reader has opened, scrolled or focused stays so.
  function show(fresh) {
    const old = document.getElementById("facts"), next = fresh.getElementById("facts");
    if (!next) throw new Error("no facts");
    const open = new Set([...old.querySelectorAll("details[open]")].map((part) => part.id));
    const wide = [...old.querySelectorAll(".wide")];
    const places = wide.map((part) => part.scrollLeft), focused = wide.indexOf(document.activeElement);
    const summary = document.activeElement.closest("#facts summary");
    old.replaceWith(document.adoptNode(next));
    for (const part of next.querySelectorAll("details")) part.open = open.has(part.id);
    const parts = next.querySelectorAll(".wide");
    places.forEach((place, index) => { if (parts[index]) parts[index].scrollLeft = place; });
    if (focused >= 0 && parts[focused]) parts[focused].focus({ preventScroll: true });
    if (summary) document.getElementById(summary.parentNode.id)?.querySelector("summary").focus();
    document.title = fresh.title;
  }

  // Only what differs is written: a screen reader reads out each change.
  function say(text) {
    if (live.textContent !== text) live.textContent = text;
  }

  function connect() {
    const source = new EventSource("events");
    source.addEventListener("status", () => {
      clearTimeout(lost);
      lost = 0;
      say("live");
      refresh();
    });
    source.addEventListener("error", () => {
      // The server ends each stream after a while; the browser then opens the next one by itself.
      if (!lost) lost = setTimeout(() => say("not live: trying again"), 5000);
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
    });
  }
  connect();
})();
