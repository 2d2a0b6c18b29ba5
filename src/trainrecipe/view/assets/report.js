(() => {
  "use strict";
  const specs = new Map();

  // Colours are CSS variables of the page, so that charts follow dark mode and print without being drawn again.
  const text = { labelColor: "var(--soft)", titleColor: "var(--soft)", labelFontSize: 11, titleFontSize: 12, titleFontWeight: 500 };
  const config = {
    aria: false, // the figure has a label of its own, and describing each of thousands of marks takes longest
    background: "transparent",
    font: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
    view: { stroke: null },
    axis: { ...text, gridColor: "var(--line)", domainColor: "var(--line)", tickColor: "var(--line)", labelLimit: 240, titlePadding: 8 },
    axisY: { domain: false, ticks: false, labelPadding: 6 },
    legend: { ...text, orient: "top", symbolType: "circle", offset: 8, labelFontSize: 12, labelLimit: 240 },
    mark: { color: "var(--c1)" },
    line: { strokeWidth: 2 },
    bar: { cornerRadiusEnd: 2 },
    // Ramps are left alone: a caption that says "dark" must hold in dark mode too.
    range: { category: ["var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)"] },
  };

  async function draw(chart) {
    const hidden = chart.checkVisibility ? !chart.checkVisibility({ contentVisibilityAuto: true }) : !chart.offsetParent;
    if (hidden || chart.classList.contains("drawn")) return;
    if (!specs.has(chart)) specs.set(chart, JSON.parse(chart.querySelector("script").textContent));
    // A fixed width instead of Vega's own "container", with which every chart answers every resize of the window.
    const spec = { ...specs.get(chart), width: chart.clientWidth, autosize: { type: "fit-x", contains: "padding" } };
    chart.classList.add("drawn");
    const stage = document.createElement("div");
    stage.style.width = "100%";
    chart.replaceChildren(stage);
    try {
      await vegaEmbed(stage, spec, {
        actions: false, ast: true, config, defaultStyle: false, mode: "vega-lite", renderer: "svg",
        logLevel: 1, tooltip: { disableDefaultStyle: true },
      });
    } catch (error) {
      stage.className = "failed";
      stage.textContent = `This chart could not be drawn: ${error.message}`;
    }
  }

  const charts = [...document.querySelectorAll(".chart")];
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "400px" });
  for (const chart of charts) {
    if (chart.getBoundingClientRect().top < innerHeight) draw(chart); // at once, without waiting for a first frame
    near.observe(chart);
  }

  // Charts far away are drawn when they come near, or all at once for printing.
  addEventListener("beforeprint", () => charts.forEach(draw));

  // After a resize only what is looked at is drawn anew; until then the old drawing is scaled.
  let width = innerWidth;
  let settled;
  const redraw = () => {
    if (innerWidth === width) return;
    width = innerWidth;
    for (const chart of specs.keys()) { chart.classList.remove("drawn"); near.observe(chart); }
  };
  addEventListener("resize", () => { clearTimeout(settled); settled = setTimeout(redraw, 200); });

  const links = new Map([...document.querySelectorAll("nav li a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const a of links.values()) a.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const id of links.keys()) { const part = document.getElementById(id); if (part) seen.observe(part); }

  // j and k go from finding to finding, as in many readers.
  const findings = [...document.querySelectorAll(".finding")];
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !"jk".includes(event.key)) return;
    const tops = findings.map((f) => f.getBoundingClientRect().top - 40);
    const target = event.key === "j" ? findings[tops.findIndex((top) => top > 0)] : findings[tops.findLastIndex((top) => top < -5)];
    target?.scrollIntoView();
  });
})();
