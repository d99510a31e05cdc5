package web_test

import (
	"github.com/chromedp/cdproto/emulation"
)

// findBarriers is a function that names what keeps people out of a page: what
// assistive technology has no name for, and text that hardly differs from its ground
// (WCAG 2.2 AA: 1.3.1, 1.4.3, 1.4.11, 2.4.6, 4.1.2).
const findBarriers = `(() => {
	const found = new Set();
	const told = (e) => "<" + e.tagName.toLowerCase() + (e.id ? " id=" + e.id : e.className.length ? " class=" + e.className : "") + "> " + e.textContent.trim().slice(0, 40);
	const wrong = (what, e) => found.add(what + ": " + told(e));
	const all = (selector) => [...document.querySelectorAll(selector)];
	const visible = (e) => e.checkVisibility({ visibilityProperty: true });
	const named = (e) => e.ariaLabel || e.getAttribute("aria-labelledby");

	// Structure.
	if (!document.documentElement.lang || !document.title) found.add("no language or no title");
	if (all("h1").length !== 1) found.add(all("h1").length + " headings of the first level");
	let level = 0;
	for (const h of all("h1, h2, h3, h4, h5, h6").filter(visible)) {
		const now = Number(h.tagName[1]);
		if (now > level + 1) wrong("a heading after one of level " + level, h);
		if (!h.textContent.trim()) wrong("an empty heading", h);
		level = now;
	}
	const ids = new Set();
	for (const e of all("[id]")) {
		if (ids.has(e.id)) wrong("an id that is there twice", e);
		ids.add(e.id);
	}
	for (const e of all("[aria-labelledby]")) if (!ids.has(e.getAttribute("aria-labelledby"))) wrong("a label that is not there", e);
	if (all("main").length !== 1) found.add("not one main part");
	for (const e of all("nav, section, form")) if (!named(e) && !e.querySelector("h1, h2, h3")) wrong("a part without a name", e);
	for (const t of all("table")) {
		if (!named(t) && !(t.caption && t.caption.textContent.trim())) wrong("a table without a name", t);
		if (t.querySelectorAll("[aria-sort]").length > 1) wrong("a table that is sorted twice", t);
	}
	for (const e of all("th")) if (!e.scope) wrong("a title of nothing", e);
	for (const e of all("input, select, textarea")) if (e.type !== "hidden" && !e.labels.length && !named(e)) wrong("a field without a label", e);
	for (const e of all("[role=img], img, progress, meter")) if (!named(e) && !e.alt) wrong("a picture without words", e);
	for (const e of all("a[href], button, summary")) if (!e.textContent.trim() && !named(e)) wrong("something to press without a name", e);
	for (const e of all("[tabindex]")) if (e.tabIndex > 0) wrong("an order of its own for the keyboard", e);
	for (const e of all("[aria-live], [role=status], [role=alert]")) {
		if (e.ariaLive === "assertive" || e.role === "alert") wrong("something that interrupts", e);
		if (e.querySelector("table, ul, dl")) wrong("something that reads out too much", e);
	}

	// Contrast. A canvas knows every way to write a colour.
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const known = new Map();
	const colour = (text) => {
		if (!known.has(text)) {
			canvas.clearRect(0, 0, 1, 1);
			canvas.fillStyle = text;
			canvas.fillRect(0, 0, 1, 1);
			known.set(text, [...canvas.getImageData(0, 0, 1, 1).data]);
		}
		return known.get(text);
	};
	const light = (c) => {
		const [r, g, b] = c.map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const ground = (e) => {
		for (; e; e = e.parentElement) {
			const c = colour(getComputedStyle(e).backgroundColor);
			if (c[3] === 255) return c;
			if (c[3] !== 0) wrong("a ground that shines through", e);
		}
		return colour("Canvas");
	};
	const contrast = (text, e, least, what) => {
		const a = light(colour(text)), b = light(ground(e));
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < least) wrong(what + " with a contrast of " + ratio.toFixed(2), e);
	};
	for (const e of all("body *").filter(visible)) {
		const style = getComputedStyle(e);
		const large = parseFloat(style.fontSize) >= 24 || parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700;
		if ([...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.nodeValue.trim())) contrast(style.color, e, large ? 3 : 4.5, "text");
		if (e.placeholder) contrast(getComputedStyle(e, "::placeholder").color, e, 4.5, "a hint");
		if (e.matches("input, button")) contrast(style.borderTopColor, e.parentElement, 3, "the edge of a field");
		if (e.tagName === "rect") contrast(style.fill, e, 3, "a bar");
	}
	return [...found];
})()`

// open has nobody kept out of a page, in light and in dark colours.
func (b browser) open(name string) {
	b.Helper()
	for _, scheme := range []string{"light", "dark"} {
		call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		for _, barrier := range evaluate[[]string](b, findBarriers) {
			b.Errorf("%s, %s: %s", name, scheme, barrier)
		}
	}
}
