// The live tail: lines that arrive and match the search, newest first. The page
// works without it.
"use strict";

(() => {
	const box = document.getElementById("tail");
	const state = document.getElementById("tail-state");
	const pauseButton = document.getElementById("tail-pause");
	const most = 100;
	let source, paused = false, shown = 0, skipped = 0;

	const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });

	function row(line) {
		const item = document.createElement("li");
		item.className = `line is-${line.level}`;
		const time = document.createElement("time");
		time.dateTime = line.time;
		time.textContent = clock.format(new Date(line.time));
		const level = document.createElement("span");
		level.className = "level";
		level.textContent = line.level;
		const from = document.createElement("span");
		from.className = "from";
		from.textContent = `${line.host} ${line.app}`;
		const text = document.createElement("code");
		text.textContent = line.line;
		item.append(time, " ", level, " ", from, " ", text);
		return item;
	}

	function say() {
		if (paused) state.textContent = "Paused.";
		else state.textContent = skipped ? `${skipped} more matched or went by too fast to be shown.` : shown ? "" : "Waiting for lines that match.";
	}

	function listen() {
		if (source || paused || document.hidden) return;
		source = new EventSource(box.dataset.source);
		source.addEventListener("lines", (event) => {
			const data = JSON.parse(event.data);
			skipped += data.more + data.missed;
			for (const line of data.lines) {
				box.prepend(row(line));
				shown++;
			}
			while (box.children.length > most) box.lastElementChild.remove();
			say();
		});
		say();
	}

	function stop() {
		source?.close();
		source = undefined;
	}

	if (box) {
		document.getElementById("tail-controls").hidden = false;
		pauseButton.addEventListener("click", () => {
			paused = !paused;
			pauseButton.setAttribute("aria-pressed", String(paused));
			pauseButton.textContent = paused ? "Go on" : "Pause";
			if (paused) stop();
			else listen();
			say();
		});
		document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
		addEventListener("pagehide", stop);
		addEventListener("pageshow", listen);
		listen();
	}
})();
