// Keeps the page as the daemon tells it to be, while it is looked at. Elements are
// changed where they stand and not replaced, so that focus, selection and what was
// opened stay, and screen readers speak of nothing that has not changed.
"use strict";

(() => {
  const address = document.body.dataset.events;
  const live = document.getElementById("live");
  const patience = 15000; // milliseconds without news until the reader is told
  const pause = 10000; // milliseconds between fetches where nothing is told
  let source = null, heard = 0, fetching = 0;

  const keyOf = (node) => node.nodeType === Node.ELEMENT_NODE && node.id || null;

  // same tells whether one node can become the other.
  const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

  // become gives a node the attributes and children of another.
  const become = (node, wanted) => {
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.nodeValue !== wanted.nodeValue) node.nodeValue = wanted.nodeValue;
      return;
    }
    for (const { name, value } of [...wanted.attributes]) {
      if (!(node.nodeName === "DETAILS" && name === "open") && node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
    for (const { name } of [...node.attributes]) {
      if (!(node.nodeName === "DETAILS" && name === "open") && !wanted.hasAttribute(name)) node.removeAttribute(name);
    }
    fill(node, wanted);
  };

  // fill gives a node the children of another.
  const fill = (node, wanted) => {
    const known = new Map();
    for (const child of node.children) if (keyOf(child)) known.set(keyOf(child), child);
    let at = node.firstChild;
    for (const want of [...wanted.childNodes]) {
      let child = keyOf(want) ? known.get(keyOf(want)) : at;
      if (child && same(child, want)) {
        if (child === at) at = at.nextSibling;
        else node.insertBefore(child, at);
        become(child, want);
      } else {
        node.insertBefore(want, at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };

  // update gives a part of the page what it is to have now.
  const update = (part, wanted) => {
    const node = document.getElementById(part);
    if (!node) return;
    const focused = document.activeElement;
    fill(node, wanted);
    if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    const titled = node.querySelector("[data-title]");
    if (titled) document.title = titled.dataset.title;
  };

  const say = (text) => { if (live.textContent !== text) live.textContent = text; };

  const news = () => {
    heard = Date.now();
    say("");
  };

  const parts = ["head", "domains", "totals", "accounts", "account"];

  const listen = () => {
    heard = Date.now();
    source = new EventSource(address);
    for (const part of parts) {
      source.addEventListener(part, (event) => {
        const holder = document.createElement("template");
        holder.innerHTML = event.data;
        update(part, holder.content);
        news();
      });
    }
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
      source = null; // refused: too many watch, or the account is gone
      fetching = setTimeout(fetchAnew, pause);
    };
  };

  // fetchAnew does without events.
  const fetchAnew = async () => {
    try {
      const answer = await fetch(location.pathname + location.search, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts) {
        const wanted = page.getElementById(part);
        if (wanted) update(part, wanted);
      }
      news();
    } catch {
      // The reader is told once it has lasted.
    }
    fetching = setTimeout(fetchAnew, pause);
  };

  const stop = () => {
    if (source) source.close();
    source = null;
    clearTimeout(fetching);
  };

  // A page that nobody sees needs no connection, of which browsers have few.
  document.addEventListener("visibilitychange", () => {
    stop();
    if (!document.hidden) listen();
  });
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => { if (event.persisted) listen(); });

  setInterval(() => {
    if (!document.hidden && Date.now() - heard > patience) say("No news from imapsyncd: what stands here may be out of date.");
  }, 1000);

  if (!document.hidden) listen();
})();
