// What a person sees of the page of delivery, as the value of an expression.
(() => {
  // The page may be about to refresh itself.
  if (document.readyState !== 'complete' || !document.body) return {Ready: false}
  const all = [...document.querySelectorAll('body *')]
  const words = e => e.innerText.replace(/\s+/g, ' ').trim()
  const own = e => [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim())
  const parts = colour => colour.match(/[\d.]+/g).map(Number)
  // Luminance and contrast as WCAG 2 defines them.
  const light = colour => {
    const [r, g, b] = parts(colour).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor
      if (parts(colour)[3] !== 0) return colour
    }
    return 'rgb(255, 255, 255)'
  }
  const contrast = e => {
    const [low, high] = [light(getComputedStyle(e).color), light(behind(e))].sort((a, b) => a - b)
    return (high + 0.05) / (low + 0.05)
  }
  // Why something cannot be read without scrolling, or nothing.
  const hidden = e => {
    const r = e.getBoundingClientRect()
    if (r.width < 1 || r.height < 1) return 'has no size'
    if (r.left < 0 || r.right > innerWidth || r.top < 0 || r.bottom > innerHeight) return 'is outside of the window'
    if (e.scrollWidth > e.clientWidth) return 'is cut off'
    return e.contains(document.elementFromPoint((r.left + r.right) / 2, (r.top + r.bottom) / 2)) ? '' : 'is covered'
  }
  return {
    Ready: true,
    Text: words(document.body),
    Answers: [...document.querySelectorAll('.answers > div')].map(e => ({Text: words(e), Hidden: hidden(e)})),
    Overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    Height: document.documentElement.scrollHeight,
    Background: light(behind(document.body)),
    Faint: all.filter(e => own(e) && contrast(e) < 4.5).map(e => words(e) + ': ' + contrast(e).toFixed(2)),
    ClippedCells: [...document.querySelectorAll('td, th')].filter(e => {
      const r = e.getBoundingClientRect()
      return r.left < 0 || r.right > innerWidth
    }).map(words),
  }
})()
