// What pages gain from a script: live values, forms without a reload, values
// read off plots, a remembered theme, a filter for lists. Every page works
// without it.
"use strict";

const root = document.documentElement;

// ---- Theme: auto, light, dark. The form does the same without a script.

document.querySelector("form.theme")?.addEventListener("submit", (event) => {
	event.preventDefault();
	const button = event.target.querySelector("button");
	const chosen = button.value;
	if (chosen) root.dataset.theme = chosen;
	else delete root.dataset.theme;
	document.cookie = `ashlar_theme=${chosen}; path=/; samesite=lax; max-age=${chosen ? 31536000 : 0}`;
	button.querySelector("[data-theme-name]").textContent = chosen || "auto";
	button.value = { "": "light", light: "dark", dark: "" }[chosen];
});

// ---- morph(from, to) makes an element like another, and leaves alone what
// the user has done to it: focus, open details, what was typed.

function morph(from, to) {
	if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) {
		from.replaceWith(to.cloneNode(true));
		return;
	}
	if (from.nodeType !== Node.ELEMENT_NODE) {
		if (from.data !== to.data) from.data = to.data;
		return;
	}
	for (const { name, value } of [...to.attributes]) {
		if (from.getAttribute(name) !== value && !(name === "open" && from.nodeName === "DETAILS")) from.setAttribute(name, value);
	}
	for (const { name } of [...from.attributes]) {
		if (!to.hasAttribute(name) && !(name === "open" && from.nodeName === "DETAILS")) from.removeAttribute(name);
	}
	morphChildren(from, to);
}

// Children with an id are matched by it, others by their place.
function morphChildren(from, to) {
	const ids = new Set([...to.childNodes].map((node) => node.id).filter(Boolean));
	const drop = (node) => {
		const next = node.nextSibling;
		node.remove();
		return next;
	};
	let old = from.firstChild;
	for (const node of [...to.childNodes]) {
		const match = node.id ? [...from.childNodes].find((child) => child.id === node.id) : undefined;
		if (match) {
			while (old && old !== match && !ids.has(old.id)) old = drop(old);
			if (old === match) old = old.nextSibling;
			else from.insertBefore(match, old);
			morph(match, node);
		} else if (old && !node.id && !old.id && old.nodeName === node.nodeName) {
			const next = old.nextSibling;
			morph(old, node);
			old = next;
		} else {
			from.insertBefore(node.cloneNode(true), old);
		}
	}
	while (old) old = drop(old);
}

function parse(html) {
	const template = document.createElement("template");
	template.innerHTML = html;
	return template.content;
}

// ---- The live stream of a page. Hidden pages listen to nothing.

const lost = document.querySelector(".lost");
let source, lostTimer, retryTimer;

function online() {
	clearTimeout(lostTimer);
	lostTimer = undefined;
	lost.hidden = true;
}

function offline() {
	// A short hiccup is not worth a banner.
	lostTimer ??= setTimeout(() => { lost.hidden = false; }, 1500);
}

function listen() {
	if (source || document.hidden || !document.body.dataset.stream) return;
	source = new EventSource(document.body.dataset.stream);
	source.addEventListener("open", online);
	source.addEventListener("live", (event) => {
		online();
		show(JSON.parse(event.data));
	});
	source.addEventListener("error", () => {
		offline();
		if (source && source.readyState === EventSource.CLOSED) {
			source = undefined;
			clearTimeout(retryTimer);
			retryTimer = setTimeout(listen, 3000);
		}
	});
	document.dispatchEvent(new CustomEvent("stream", { detail: source }));
}

function pause() {
	clearTimeout(retryTimer);
	clearTimeout(lostTimer);
	lostTimer = undefined;
	source?.close();
	source = undefined;
}

document.addEventListener("visibilitychange", () => (document.hidden ? pause() : listen()));
addEventListener("pagehide", pause);
addEventListener("pageshow", listen);

function show(live) {
	for (const [key, text] of Object.entries(live.text ?? {})) {
		for (const element of document.querySelectorAll(`[data-live="${CSS.escape(key)}"]`)) {
			if (element.textContent === text) continue;
			element.textContent = text;
			element.classList.remove("changed");
			void element.offsetWidth; // so that the animation starts again
			element.classList.add("changed");
		}
	}
	for (const [key, html] of Object.entries(live.html ?? {})) {
		for (const element of document.querySelectorAll(`[data-live-html="${CSS.escape(key)}"]`)) morphChildren(element, parse(html));
	}
	reread();
}

// ---- Forms with data-quiet: sent in the background, the answer's <main>
// replaces this one's. Anything unexpected falls back to a plain submit.

document.addEventListener("submit", async (event) => {
	const form = event.target;
	if (!form.matches("form[data-quiet]")) return;
	event.preventDefault();
	if (form.getAttribute("aria-busy") === "true") return;
	const data = new FormData(form, event.submitter);
	const init = { method: form.method, headers: { Accept: "text/html" } };
	let url = event.submitter?.getAttribute("formaction") ?? form.getAttribute("action") ?? "";
	url = new URL(url, document.baseURI);
	if (form.method === "get") url.search = new URLSearchParams(data);
	else init.body = form.enctype === "multipart/form-data" ? data : new URLSearchParams(data);
	form.setAttribute("aria-busy", "true");
	try {
		const answer = await fetch(url, init);
		const type = answer.headers.get("Content-Type") ?? "";
		if (!type.startsWith("text/html")) throw new Error(await answer.text());
		const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
		const main = fresh.querySelector("main");
		if (!main) throw new Error("the answer is not a page");
		morph(document.querySelector("main"), main);
		if (answer.ok && answer.url.split(/[?#]/)[0] !== location.href.split(/[?#]/)[0]) history.pushState(null, "", answer.url);
		document.title = fresh.title;
		if (form.isConnected && answer.ok && form.hasAttribute("data-clear")) form.reset();
	} catch (error) {
		tell(`That did not reach the server: ${error.message}. Try again.`);
	} finally {
		form.removeAttribute("aria-busy");
	}
});

addEventListener("popstate", () => location.reload());

function tell(text) {
	let notice = document.querySelector(".notice");
	if (!notice) {
		notice = document.createElement("p");
		document.querySelector(".intro").after(notice);
	}
	notice.className = "notice bad";
	notice.setAttribute("role", "alert");
	notice.textContent = text;
}

// ---- Plots: pointer and arrow keys read values.

let reading; // { figure, index }

function plotData(figure) {
	if (figure.plotSource !== figure.dataset.plot) {
		figure.plotSource = figure.dataset.plot;
		figure.plotValues = JSON.parse(figure.dataset.plot);
	}
	return figure.plotValues;
}

function read(figure, index) {
	const data = plotData(figure);
	if (!data.x.length) return;
	index = Math.min(Math.max(index, 0), data.x.length - 1);
	reading = { figure, index };
	const cursor = figure.querySelector(".cursor"), at = `${data.x[index] * 100}%`;
	cursor.setAttribute("x1", at);
	cursor.setAttribute("x2", at);
	cursor.setAttribute("visibility", "visible");
	figure.querySelector(".plot-read").textContent =
		`At ${data.label[index]}: ` + data.lines.map((line) => `${line.name} ${line.values[index]}`).join(", ");
}

function unread(figure) {
	figure.querySelector(".cursor")?.setAttribute("visibility", "hidden");
	const text = figure.querySelector(".plot-read");
	if (text) text.textContent = "";
	reading = undefined;
}

function reread() {
	if (!reading) return;
	if (reading.figure.isConnected) read(reading.figure, reading.index);
	else reading = undefined;
}

document.addEventListener("pointermove", (event) => {
	const area = event.target.closest?.(".plot-area"), figure = area?.closest(".plot");
	if (reading && reading.figure !== figure && reading.figure !== document.activeElement) unread(reading.figure);
	if (!figure) return;
	const box = area.getBoundingClientRect(), x = (event.clientX - box.left) / box.width;
	const xs = plotData(figure).x;
	let best = 0;
	xs.forEach((value, i) => { if (Math.abs(value - x) < Math.abs(xs[best] - x)) best = i; });
	read(figure, best);
});

document.addEventListener("keydown", (event) => {
	const figure = event.target;
	if (!figure.matches?.(".plot")) return;
	const last = plotData(figure).x.length - 1;
	const from = reading?.figure === figure ? reading.index : last + (event.key === "ArrowLeft" ? 1 : 0);
	const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
	if (event.key === "Escape") unread(figure);
	if (to === undefined) return;
	event.preventDefault();
	read(figure, to);
});

document.addEventListener("focusout", (event) => {
	if (event.target.matches?.(".plot")) unread(event.target);
});

// ---- A list that narrows while one types. data-filter names the element
// whose items carry data-search.

for (const form of document.querySelectorAll("form[data-filter]")) {
	const list = document.getElementById(form.dataset.filter), input = form.querySelector("input");
	const filter = () => {
		const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
		const items = [...list.querySelectorAll("[data-search]")];
		let shown = 0;
		for (const item of items) {
			item.hidden = !words.every((word) => item.dataset.search.includes(word));
			if (!item.hidden) shown++;
		}
		for (const group of list.querySelectorAll(".group")) group.hidden = !group.querySelector("[data-search]:not([hidden])");
		const none = document.querySelector("[data-none]");
		if (none) none.hidden = shown > 0;
		const count = `${items.length} ${items.length === 1 ? "system" : "systems"}`;
		history.replaceState(null, "", words.length ? `?${new URLSearchParams({ [input.name]: input.value })}` : location.pathname);
		form.querySelector("[role=status]").textContent = words.length ? `${shown} of ${count}` : count;
	};
	input.addEventListener("input", filter);
	form.addEventListener("submit", (event) => {
		event.preventDefault();
		filter();
	});
}

listen();
