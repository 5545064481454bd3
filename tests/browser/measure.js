// Measures the status page in place; the answer is plain data. Only the picture may be wider than the screen, and scrolls.
(() => {
  const box = (one) => {
    const at = one.getBoundingClientRect();
    return { left: at.left, top: at.top, right: at.right, bottom: at.bottom };
  };
  const colour = (text) => {
    const parts = text.match(/[\d.]+/g).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((one) => {
      const part = one / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const shape = at.tagName === "g" ? at.querySelector("rect") : null;
      const found = colour(shape ? getComputedStyle(shape).fill : getComputedStyle(at).backgroundColor);
      if (found.alpha === 1) return found.rgb;
    }
    return [255, 255, 255];
  };
  const picture = [...document.querySelectorAll("svg text")].map((one) => ({
    words: one.textContent,
    box: box(one),
    holder: one.parentElement.tagName === "g" ? box(one.parentElement.querySelector("rect")) : null,
    contrast: contrast(colour(getComputedStyle(one).fill).rgb, behind(one.parentElement)),
  }));
  const page = [...document.querySelectorAll("body *")].filter((one) => !one.closest("svg") && one.textContent.trim());
  return {
    width: innerWidth,
    scroll: document.scrollingElement.scrollWidth,
    wide: page.filter((one) => box(one).right > innerWidth + 0.5).map((one) => one.tagName + " " + one.className),
    faint: page
      .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
      .map((one) => ({
        words: one.textContent,
        contrast: contrast(colour(getComputedStyle(one).color).rgb, behind(one)),
      })),
    boxes: [...document.querySelectorAll("svg .node rect")].map(box),
    picture: picture,
    nodes: document.querySelectorAll("svg .node").length,
    background: getComputedStyle(document.body).backgroundColor,
    title: document.querySelector("svg")?.getAttribute("aria-labelledby") ?? "",
  };
})();
