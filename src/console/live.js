// Follows the page: when the server says that something changed, fetches it again and replaces <main>, at most once a second.
"use strict";
(() => {
  const status = document.getElementById("live");
  let busy = false;
  let again = false;
  const say = (text) => { if (status && status.textContent !== text) status.textContent = text; };
  const refresh = async () => {
    if (document.hidden) { again = true; return; }
    if (busy) { again = true; return; }
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = next.querySelector("main");
      const here = document.querySelector("main");
      const chosen = getSelection();
      // Somebody is marking text, or reads by keyboard: do not take it away.
      const reading = chosen && !chosen.isCollapsed && here.contains(chosen.anchorNode);
      if (main && !reading) {
        const focused = here.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
        here.replaceChildren(...main.childNodes);
        if (focused) {
          const link = [...here.querySelectorAll("a[href]")].find((one) => one.getAttribute("href") === focused);
          if (link) link.focus({ preventScroll: true });
        }
      }
      say("live");
    } catch {
      say("connection lost, trying again");
    }
    setTimeout(() => { busy = false; if (again) refresh(); }, 1000);
  };
  say("connecting");
  const source = new EventSource("/live");
  source.addEventListener("changed", refresh);
  source.addEventListener("open", () => say("live"));
  source.addEventListener("error", () => say("connection lost, trying again"));
  document.addEventListener("visibilitychange", () => { if (!document.hidden && again) refresh(); });
})();
