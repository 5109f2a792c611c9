(function () {
  "use strict";
  var held = null;

  /* Looked for each time: what is shown may have come since. */
  function all(selector, where) {
    return Array.prototype.slice.call((where || document).querySelectorAll(selector));
  }

  function numbers(element) {
    return element.getAttribute("data-q").split(" ").filter(Boolean);
  }

  /* A word that matches too weakly to be lit up has a query word all the same. */
  function wanted(element) {
    var lit = numbers(element);
    return lit.length ? lit : (element.getAttribute("data-of") || "").split(" ").filter(Boolean);
  }

  function say(element) {
    if (element.tagName !== "BUTTON") { return element.getAttribute("data-said"); }
    var found = document.querySelectorAll(".w.lit").length;
    return element.textContent + ": " + (found || "no") + (found === 1 ? " match" : " matches");
  }

  function light(element) {
    var lit = element ? wanted(element) : [];
    document.body.classList.toggle("looking", lit.length > 0);
    all("[data-q]").forEach(function (other) {
      var on = numbers(other).some(function (number) { return lit.indexOf(number) >= 0; });
      other.classList.toggle("lit", on);
    });
    var said = document.getElementById("said");
    said.textContent = element ? say(element) : "";
    said.hidden = !said.textContent;
  }

  /* One word of a passage at a time can be reached with Tab; arrow keys go to the others. */
  function step(event) {
    var passage = event.target.closest ? event.target.closest(".text") : null;
    var moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key === "Escape") { hold(null); light(null); return; }
    if (!passage || event.altKey || event.ctrlKey || event.metaKey) { return; }
    var list = all("[data-q]", passage);
    var at = list.indexOf(event.target);
    var next = event.key === "Home" ? 0 : event.key === "End" ? list.length - 1 : at + (moves[event.key] || 0);
    if (at < 0 || next === at || next < 0 || next >= list.length) { return; }
    event.preventDefault();
    list[at].tabIndex = -1;
    list[next].tabIndex = 0;
    list[next].focus();
  }

  function target(event) {
    return event.target.closest ? event.target.closest("[data-q]") : null;
  }

  function hold(button) {
    held = button;
    all("button[data-q]").forEach(function (other) {
      other.setAttribute("aria-pressed", String(other === held));
    });
  }

  document.addEventListener("mouseover", function (event) { light(target(event) || held); });
  document.addEventListener("mouseout", function (event) { if (!event.relatedTarget) { light(held); } });
  document.addEventListener("focusin", function (event) { light(target(event) || held); });
  document.addEventListener("focusout", function () { light(held); });
  /* A click or a tap holds a query word until it is clicked again. */
  document.addEventListener("click", function (event) {
    var element = target(event);
    var button = element && element.tagName === "BUTTON" ? element : null;
    hold(button && button !== held ? button : null);
    light(button ? held : element);
  });
  document.addEventListener("keydown", step);
})();
