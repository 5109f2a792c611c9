(function () {
  "use strict";
  var form = document.getElementById("ask");
  var box = document.getElementById("question");
  var panel = document.getElementById("panel");
  var stop = document.getElementById("stop");
  var running = [];
  var opener = null;
  var opening = null;

  function ready() {
    var mark = document.getElementById("ready");
    if (!mark || mark.dataset.ready === "yes") { return; }
    fetch("/api/status").then(function (response) { return response.json(); }).then(function (status) {
      if (!status.ready) { window.setTimeout(ready, 1000); return; }
      mark.dataset.ready = "yes";
      mark.textContent = "Ready";
    }).catch(function () { window.setTimeout(ready, 3000); });
  }

  /* -- streams ---------------------------------------------------------------------------- */

  /* The events of a server-sent stream, each as a name and its data. */
  function read(response, tell) {
    var reader = response.body.getReader();
    var decoder = new TextDecoder();
    var rest = "";
    function next() {
      return reader.read().then(function (part) {
        rest += decoder.decode(part.value || new Uint8Array(), { stream: !part.done });
        var blocks = rest.split("\n\n");
        rest = blocks.pop();
        blocks.forEach(function (block) {
          var found = /^event: (.*)\ndata: (.*)$/.exec(block);
          if (found) { tell(found[1], JSON.parse(found[2])); }
        });
        return part.done ? null : next();
      });
    }
    return next();
  }

  function name(column, who) {
    column.querySelector(".who").textContent = who;
    column.setAttribute("aria-label", "Answer of " + who);
    return column;
  }

  function ask(column, question, config, model) {
    var part = function (name) { return column.querySelector("." + name); };
    var ended = false;
    var takes = {
      note: function (data) { part("state").textContent = data.text; },
      found: function (data) { part("state").textContent = "Found passages; the model answers."; part("found").innerHTML = data.html; },
      text: function (data) { part("state").textContent = ""; part("draft").textContent += data.text; },
      sentence: function (data) {
        part("state").textContent = "";
        part("draft").textContent = data.rest;
        part("said").insertAdjacentHTML("beforeend", data.html);
      },
      done: function (data) {
        ended = true;
        part("draft").textContent = "";
        part("after").innerHTML = data.html;
        name(column, data.who);
      },
      error: function (data) { ended = true; part("draft").textContent = ""; part("error").textContent = data.text; }
    };
    var control = new AbortController();
    running.push(control);
    column.setAttribute("aria-busy", "true");
    part("state").textContent = "Searching.";
    return fetch("/ask", {
      method: "POST",
      headers: { "X-Fragment": "1" },
      body: new URLSearchParams({ question: question, config: config, model: model }),
      signal: control.signal
    }).then(function (response) {
      if (!response.ok) { return response.text().then(function (text) { takes.error({ text: text }); }); }
      return read(response, function (name, data) { if (takes[name]) { takes[name](data); } });
    }).then(function () {
      if (!ended) { takes.error({ text: "The answer broke off: the server has stopped." }); }
    }).catch(function (error) {
      if (error.name === "AbortError") { part("state").textContent = "Stopped."; return; }
      takes.error({ text: "The server cannot be reached." });
    }).then(function () {
      if (/[.]$/.test(part("state").textContent) && part("state").textContent !== "Stopped.") { part("state").textContent = ""; }
      column.setAttribute("aria-busy", "false");
      running.splice(running.indexOf(control), 1);
      stop.hidden = !running.length;
    });
  }

  function halt() {
    running.forEach(function (control) { control.abort(); });
  }

  function submit() {
    var question = box.value.trim();
    if (!question) { box.focus(); return; }
    halt();
    shut(false);
    var data = new FormData(form);
    var columns = [[data.get("config"), data.get("model")]];
    if (data.get("compare")) { columns.push([data.get("config2"), data.get("model2")]); }
    var answers = document.getElementById("answers");
    answers.classList.toggle("two", columns.length > 1);
    answers.replaceChildren();
    stop.hidden = false;
    columns.forEach(function (chosen, place) {
      var select = form.elements[place ? "model2" : "model"];
      var empty = document.getElementById("column").content.firstElementChild.cloneNode(true);
      var column = name(empty, chosen[0] + " · " + select.options[select.selectedIndex].text);
      answers.append(column);
      ask(column, question, chosen[0], chosen[1]);
    });
    document.title = question + " – ragqa";
  }

  /* -- the passage beside the answer -------------------------------------------------------- */

  function open(link) {
    if (opener) { opener.removeAttribute("aria-current"); }
    if (opening) { opening.abort(); }
    opening = new AbortController();
    opener = link;
    link.setAttribute("aria-current", "true");
    fetch(link.href, { headers: { "X-Fragment": "1" }, signal: opening.signal }).then(function (response) {
      return response.text().then(function (text) { show(text, response.ok); });
    }).catch(function (error) {
      if (error.name !== "AbortError") { show("The server cannot be reached.", false); }
    });
  }

  function show(text, ok) {
    var place = document.getElementById("passage");
    if (ok) { place.innerHTML = text; } else { place.textContent = text; }
    panel.hidden = false;
    panel.scrollTop = 0;
    panel.focus({ preventScroll: true });
    if (window.matchMedia("(max-width: 63.99rem)").matches) { panel.scrollIntoView({ block: "start" }); }
  }

  function shut(back) {
    if (!panel || panel.hidden) { return; }
    panel.hidden = true;
    document.getElementById("passage").replaceChildren();
    if (opener) {
      opener.removeAttribute("aria-current");
      if (back) { opener.focus(); }
      opener = null;
    }
  }

  /* -- keys and clicks ---------------------------------------------------------------------- */

  function typing(element) {
    return /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName) || element.isContentEditable;
  }

  document.addEventListener("keydown", function (event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) { return; }
    if (event.key === "/" && box && !typing(event.target)) {
      event.preventDefault();
      box.focus();
      box.select();
    } else if (event.key === "Escape") {
      shut(true);
    } else if (event.key === "Enter" && !event.shiftKey && form && event.target === box) {
      event.preventDefault();
      submit();
    }
  });

  if (form) {
    form.addEventListener("submit", function (event) { event.preventDefault(); submit(); });
    stop.addEventListener("click", function () { halt(); box.focus(); });
    document.getElementById("close").addEventListener("click", function () { shut(true); });
    document.addEventListener("click", function (event) {
      var link = event.target.closest ? event.target.closest("a[data-passage]") : null;
      if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) { return; }
      event.preventDefault();
      open(link);
    });
  }
  ready();
})();
