/**
 * A line over time, drawn as SVG.
 *
 * @typedef {{ day: string, stored: number, sent: number, dead: number, lost: number }} Point
 */
const HEIGHT = 200
const LEFT = 52 // room for the numbers
const BOTTOM = 24 // room for the days
const TOP = 10
const LABEL_EVERY = 110 // units between days that are named
const LEAST_WIDTH = 280

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} content
 */
function draw(tag, attributes, ...content) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value))
  element.append(...content)
  return element
}

/** @param {number} most @returns {number} the same, or a little more: 1, 2 or 5 and zeros */
export function roundUp(most) {
  const size = 10 ** Math.floor(Math.log10(Math.max(1, most)))
  return [1, 2, 5, 10].map((step) => step * size).find((step) => step >= most) || most
}

/**
 * @param {Point[]} points One a day.
 * @param {number} room How wide it may be.
 * @param {(day: string) => void} choose
 */
export function drawChart(points, room, choose) {
  const width = Math.max(LEAST_WIDTH, Math.round(room))
  const top = roundUp(Math.max(1, ...points.map((point) => point.stored)))
  const step = (width - LEFT - 12) / Math.max(1, points.length - 1)
  const x = (/** @type {number} */ index) => Math.round(LEFT + index * step)
  const y = (/** @type {number} */ count) =>
    Math.round((HEIGHT - BOTTOM - (Math.min(count, top) / top) * (HEIGHT - BOTTOM - TOP)) * 10) / 10

  /** @param {string} className @param {(point: Point) => number} read */
  const line = (className, read) =>
    draw('polyline', {
      class: className,
      points: points.map((point, index) => `${x(index)},${y(read(point))}`).join(' '),
    })

  const svg = draw('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, class: 'chart', role: 'group' })
  const last = points.at(-1)
  svg.setAttribute(
    'aria-label',
    `Events a day from ${points[0]?.day} to ${last?.day}; on the last day ${last?.stored} stored`,
  )
  for (const share of [0, 0.5, 1]) {
    const at = y(top * share)
    svg.append(
      draw('line', { class: 'grid', x1: LEFT, x2: width, y1: at, y2: at }),
      draw('text', { x: LEFT - 8, y: at + 4, 'text-anchor': 'end' }, format(top * share)),
    )
  }
  const every = Math.max(1, Math.ceil(LABEL_EVERY / step))
  points.forEach((point, index) => {
    if ((points.length - 1 - index) % every) return
    const anchor = index === points.length - 1 ? 'end' : index ? 'middle' : 'start'
    svg.append(
      draw('text', { x: x(index), y: HEIGHT - 6, 'text-anchor': anchor }, point.day.slice(5)),
    )
  })
  svg.append(
    line('stored', (point) => point.stored),
    line('sent', (point) => point.sent),
    line('failed', (point) => point.dead + point.lost),
  )
  const strips = points.map((point, index) => {
    const failed = point.dead + point.lost
    const text = `${point.day}: ${point.stored} stored, ${point.sent} browser copies sent, ${failed} failed`
    const strip = draw(
      'rect',
      {
        ...{ class: 'day', role: 'button', 'aria-label': text, 'data-key': point.day },
        ...{ x: x(index) - step / 2, y: 0, width: step, height: HEIGHT - BOTTOM },
      },
      draw('title', {}, text),
    )
    strip.addEventListener('click', () => choose(point.day))
    return strip
  })
  svg.append(...strips)
  letKeysMove(strips)
  return svg
}

/**
 * Makes one of the days a stop of the Tab key, the last one at first; arrows lead to the others.
 *
 * @param {SVGElement[]} strips
 */
function letKeysMove(strips) {
  const last = strips.length - 1
  /** @type {Record<string, (index: number) => number>} */
  const moves = {
    ArrowLeft: (index) => index - 1,
    ArrowRight: (index) => index + 1,
    Home: () => 0,
    End: () => last,
  }
  strips.forEach((strip, index) => {
    strip.setAttribute('tabindex', index === last ? '0' : '-1')
    strip.addEventListener('focus', function () {
      for (const other of strips) other.setAttribute('tabindex', other === strip ? '0' : '-1')
    })
    strip.addEventListener('keydown', function (event) {
      const move = moves[event.key]
      if (move) strips[move(index)]?.focus()
      else if (event.key === 'Enter' || event.key === ' ') strip.dispatchEvent(new Event('click'))
      else return
      event.preventDefault()
    })
  })
}

/** @param {number} count */
function format(count) {
  return count.toLocaleString('en', { notation: 'compact', maximumFractionDigits: 1 })
}
