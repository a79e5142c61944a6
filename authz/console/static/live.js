// Shows decisions as they come. The page is whole without it. What is shown is set as text, never as markup.
"use strict";
(() => {
  const table = document.getElementById("live");
  const body = table.tBodies[0];
  const state = document.getElementById("state");
  const pause = document.getElementById("pause");
  const MOST_ROWS = 100;
  const total = { allowed: 0, denied: 0 };
  let source = null;

  function cell(row, pieces) {
    const td = row.insertCell();
    for (const [text, kind] of pieces) {
      if (kind === "") {
        td.append(text);
      } else {
        const span = document.createElement("span");
        span.className = kind;
        span.textContent = text;
        td.append(span);
      }
    }
    return td;
  }

  function show(decision) {
    const row = document.createElement("tr");
    const link = document.createElement("a");
    link.href = "/decisions/" + encodeURIComponent(decision.id);
    link.textContent = decision.at;
    row.insertCell().append(link);
    const chip = document.createElement("span");
    chip.className = "chip " + (decision.effect === "allow" ? "allow" : "deny");
    chip.textContent = decision.effect;
    row.insertCell().append(chip);
    decision.cells.forEach((pieces) => cell(row, pieces));
    return row;
  }

  function take(event) {
    const told = JSON.parse(event.data);
    total.allowed += told.allowed;
    total.denied += told.denied;
    document.getElementById("allowed").textContent = total.allowed.toLocaleString("en");
    document.getElementById("denied").textContent = total.denied.toLocaleString("en");
    const rate = (told.allowed + told.denied) / Math.max(told.seconds, 0.001);
    document.getElementById("rate").textContent = Math.round(rate).toLocaleString("en");
    body.prepend(...told.rows.map(show));
    while (body.rows.length > MOST_ROWS) {
      body.deleteRow(-1);
    }
  }

  function tell(text) {
    if (state.textContent !== text) {
      state.textContent = text;
    }
  }

  function follow() {
    source = new EventSource(table.dataset.stream);
    source.onopen = () => tell("Live. Counted since this page was opened.");
    source.onmessage = take;
    // The browser tries again where the connection broke, but not after an answer such as "not signed in".
    source.onerror = () =>
      source.readyState === EventSource.CLOSED
        ? stop("Not signed in any more, or the console is busy. Load the page again.")
        : tell("The connection is lost; trying again.");
    source.addEventListener("over", () => stop("This view has ended. Load the page again."));
    source.addEventListener("refused", (event) => stop("Not allowed any more: " + event.data));
    pause.textContent = "Pause";
  }

  function stop(why) {
    source.close();
    source = null;
    pause.textContent = "Go on";
    tell(why);
  }

  pause.hidden = false;
  pause.addEventListener("click", () => (source ? stop("Paused: what is decided meanwhile is not counted here.") : follow()));
  follow();
})();
