"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const T = data.steps.length;
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const numbers = { forward: [], backward: [], sums: [] };
  data.lines.forEach((line, n) => numbers[line.phase].push(n));
  const positions = [];
  for (let t = 0; t < T; t++) numbers.forward.forEach((n) => positions.push({ t, n }));
  for (let t = T - 1; t >= 0; t--) numbers.backward.forEach((n) => positions.push({ t, n }));
  numbers.sums.forEach((n) => positions.push({ t: 0, n }));
  const state = { at: 0, unit: 0 };

  // As `printed` in _shown.py.
  const printed = (value) => {
    const size = Math.abs(value);
    if (size === 0) return "0";
    const sign = value < 0 ? "−" : "";
    if (size >= 0.001 && size < 1000) return sign + size.toFixed(size >= 0.1 ? 3 : 4);
    const [mantissa, exponent] = size.toExponential(1).split("e");
    const raised = String(Number(exponent)).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
    return `${sign}${mantissa}×10${raised}`;
  };
  const place = (text, length) => (text === "u" ? state.unit % length : Number(text));
  const valueOf = (element, t) => {
    const { v, r, c } = element.dataset;
    const step = data.steps[element.dataset.t === undefined ? t : Number(element.dataset.t)];
    const rows = step[v] || data.weights[v] || data.sums[v];
    const row = rows[place(r, rows.length)];
    return row[place(c, row.length)];
  };
  const fill = (root, t) => {
    for (const element of all("[data-v]", root)) {
      const value = valueOf(element, t);
      const text = printed(value);
      element.textContent = "p" in element.dataset && value < 0 ? `(${text})` : text;
      if (element.classList.contains("n")) {
        element.classList.toggle("chosen", Number(element.dataset.c) === state.unit);
      }
    }
    const inputs = data.steps[0].x_t[0].length;
    for (const element of all(".unit-number", root)) {
      const k = element.dataset.of === "feature" ? state.unit % inputs : state.unit;
      element.textContent = data.units[k] ?? k + 1;
    }
  };

  const words = (list) => (list || "").split(" ");
  const light = (line, t) => {
    const back = line.phase === "backward";
    const kept = new Set(back ? line.kept : []);
    document.body.dataset.phase = line.phase;
    for (const element of all("#cell [data-f]")) {
      const names = words(back ? element.dataset.b : element.dataset.f);
      const weighs = line.phase === "sums" && element.classList.contains("weights");
      element.classList.toggle("now", weighs || (!back && names.includes(line.name)));
      element.classList.toggle("back", back && names.includes(line.name));
      element.classList.toggle("read", kept.has(element.dataset.carries));
    }
    for (const element of all("#cell [data-s]")) {
      element.classList.toggle("current", element.dataset.s === line.name);
      element.classList.toggle("later", made(element.dataset.s) > data.lines.indexOf(line));
      element.classList.toggle("read", kept.has(element.dataset.s));
    }
    for (const label of all("#cell .label")) {
      label.classList.toggle("reading", label.querySelector(".of-forward.read") !== null);
    }
    for (const copy of all("#unfolded .copy")) {
      const k = Number(copy.dataset.copy);
      const sums = line.phase === "sums";
      copy.classList.toggle("at", k === t && !sums);
      copy.classList.toggle("sums", sums);
      copy.classList.toggle("went", line.phase !== "forward" || k < t || (k === t && line.name === "C_t"));
      copy.classList.toggle("came", sums || (back && k > t) || (back && k === t && made(line.name) >= made("dh_t")));
      copy.classList.toggle("back", back);
    }
    for (const source of all(".source")) {
      source.classList.toggle("current", line.code.includes(Number(source.dataset.n)));
    }
  };
  const made = (name) => data.lines.findIndex((line) => line.name === name);  // −1: given

  const titles = { forward: "Forward", backward: "Backward", sums: "Weights" };
  const where = (line, t, n) => {
    const count = `equation ${numbers[line.phase].indexOf(n) + 1} of ${numbers[line.phase].length}`;
    return line.phase === "sums" ? `Weights, over all steps, ${count}` : `${titles[line.phase]}, step ${t + 1} of ${T}, ${count}`;
  };
  const show = (say = true) => {
    const { t, n } = positions[state.at];
    const line = data.lines[n];
    const item = byId(`line-${n}`);
    byId("where").textContent = where(line, t, n);
    const now = byId("now");
    now.className = line.phase;
    now.replaceChildren(...[...item.childNodes].map((node) => node.cloneNode(true)));
    const button = now.querySelector(".equation");
    const equation = document.createElement("div");
    equation.className = "equation";
    equation.append(...button.childNodes);
    button.replaceWith(equation);
    light(line, t);
    fill(document, t);
    all(".t-now").forEach((element) => (element.textContent = t + 1));
    all(".line").forEach((element) => {
      element.classList.toggle("current", element === item);
      const pick = element.querySelector(".equation");
      if (element === item) pick.setAttribute("aria-current", "step");
      else pick.removeAttribute("aria-current");
    });
    byId("time").value = t + 1;
    byId("time").disabled = line.phase === "sums";
    byId("time-out").textContent = line.phase === "sums" ? "all" : t + 1;
    byId("counter").textContent = `${state.at + 1} / ${positions.length}`;
    byId("previous").disabled = state.at === 0;
    byId("next").disabled = state.at === positions.length - 1;
    all("[data-phase]", document.querySelector(".controls")).forEach((element) => {
      element.setAttribute("aria-pressed", String(element.dataset.phase === line.phase));
    });
    if (say) {
      const result = now.querySelector(".values math:last-child mn:last-of-type");
      const unit = line.column === "u" ? `, unit ${data.units[state.unit] ?? state.unit + 1}` : "";
      byId("said").textContent = `${where(line, t, n)}. ${line.spoken} With values${unit}: ${result ? result.textContent : ""}`;
    }
    try {
      history.replaceState(null, "", `#${line.phase}-${t + 1}-${numbers[line.phase].indexOf(n) + 1}-${state.unit + 1}`);
    } catch { /* a page without an address, such as one in a frame, keeps none */ }
  };

  const find = (phase, t, n) =>
    positions.findIndex((p) => data.lines[p.n].phase === phase && (phase === "sums" || p.t === t) && (n === undefined || p.n === n));
  const go = (at) => {
    if (at < 0 || at >= positions.length) return;
    state.at = at;
    show();
  };
  const here = () => ({ ...positions[state.at], phase: data.lines[positions[state.at].n].phase });
  const toTime = (t) => {
    const { n, phase } = here();
    if (phase !== "sums" && t >= 0 && t < T) go(find(phase, t, n));
  };
  const toPhase = (phase) => {
    const { t, phase: before } = here();
    go(find(phase, before === "sums" ? (phase === "backward" ? T - 1 : 0) : t));
  };
  byId("previous").addEventListener("click", () => go(state.at - 1));
  byId("next").addEventListener("click", () => go(state.at + 1));
  byId("time").addEventListener("input", (event) => toTime(Number(event.target.value) - 1));
  byId("unit").addEventListener("change", (event) => {
    state.unit = Number(event.target.value);
    show();
  });
  all(".controls [data-phase]").forEach((b) => b.addEventListener("click", () => toPhase(b.dataset.phase)));
  all(".line [data-go]").forEach((b) =>
    b.addEventListener("click", () => {
      const n = Number(b.dataset.go);
      const { t, phase } = here();
      const wanted = data.lines[n].phase;
      go(find(wanted, phase === "sums" && wanted === "backward" ? T - 1 : t, n));
    }),
  );
  all("#unfolded .copy").forEach((copy) => copy.addEventListener("click", () => toTime(Number(copy.dataset.copy))));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, .scroll, pre")) return;
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const { t, phase } = here();
    if (!event.shiftKey) go(state.at + by);
    else toTime(t + (phase === "backward" ? -by : by));
  });

  const root = document.documentElement;
  byId("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  const tip = byId("tip");
  const point = (event) => {
    const element = event.target.closest?.("[data-s]");
    const symbol = element && data.symbols[element.dataset.s];
    tip.hidden = !symbol;
    all("#cell .pointed").forEach((e) => e.classList.remove("pointed"));
    if (!symbol) return;
    tip.innerHTML = `${symbol[0]}, shape ${symbol[1]}`;
    all(`#cell [data-carries="${CSS.escape(element.dataset.s)}"]`).forEach((e) => e.classList.add("pointed"));
    const box = element.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left), innerWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 6;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 4 ? box.bottom + 6 : above}px`;
  };
  document.addEventListener("pointerover", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });
  document.addEventListener("keyup", (event) => event.key === "Escape" && (tip.hidden = true));

  const fromAddress = () => {
    const [phase, t, k, unit] = location.hash.slice(1).split("-");
    if (!(phase in numbers)) return;
    const n = numbers[phase][Number(k) - 1];
    if (Number(unit) >= 1 && Number(unit) <= data.units.length) state.unit = Number(unit) - 1;
    byId("unit").value = state.unit;
    const at = find(phase, Number(t) - 1, n);
    if (at >= 0 && n !== undefined) state.at = at;
  };
  root.classList.add("js");
  fromAddress();
  addEventListener("hashchange", () => {
    fromAddress();
    show();
  });
  show(false);
})();
