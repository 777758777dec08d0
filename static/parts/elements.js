/** What the pages share: finding, building and keeping elements, and writing numbers. */

/** @param {string} id @returns {HTMLElement} */
export function find(id) {
  const element = document.getElementById(id)
  if (!element) throw new Error('the page has no element ' + id)
  return element
}

/** @param {string} id @returns {HTMLInputElement} Or a select, which has the same fields. */
export function findInput(id) {
  return /** @type {HTMLInputElement} */ (find(id))
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {...(Node | string)} content Strings become text, never markup.
 */
export function build(tag, className, ...content) {
  const element = document.createElement(tag)
  if (className) element.className = className
  element.append(...content)
  return element
}

/** @param {string} text @param {() => void} act @param {string} [className] */
export function buildButton(text, act, className) {
  const button = build('button', className, text)
  button.type = 'button'
  button.addEventListener('click', act)
  return button
}

/**
 * A table's cell; where the table is too wide it is a card, and each cell names itself.
 *
 * @param {string} label The column's name.
 * @param {string} className
 * @param {...(Node | string)} content
 */
export function buildCell(label, className, ...content) {
  const cell = build('td', className, ...content)
  cell.dataset.label = label
  return cell
}

/** @param {number} ms */
export function formatTime(ms) {
  return new Date(ms).toLocaleTimeString('en-GB')
}

/** @param {number} seconds A length of time, such as 75. */
export function formatAge(seconds) {
  const units = /** @type {[number, string][]} */ ([
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'min'],
  ])
  for (const [size, name] of units) {
    if (seconds >= size) return Math.floor(seconds / size) + ' ' + name
  }
  return (seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds)) + ' s'
}

/** @param {string} text */
export function shorten(text) {
  return text.length > 22 ? text.slice(0, 12) + '…' + text.slice(-8) : text
}

/** @param {number} count */
export function formatNumber(count) {
  return count.toLocaleString('en')
}

/** @param {number} count @param {string} noun */
export function formatCount(count, noun) {
  return formatNumber(count) + ' ' + noun + (count === 1 ? '' : 's')
}

/** @param {number} part @param {number} whole */
export function formatShare(part, whole) {
  return whole ? Math.round((100 * part) / whole) + ' %' : '–'
}

/** @param {unknown} value @param {unknown} currency */
export function formatMoney(value, currency) {
  const amount = Number(value)
  const text = Number.isFinite(amount)
    ? amount.toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 })
    : String(value)
  return text + ' ' + String(currency || '').toUpperCase()
}

/** @param {Record<string, unknown>} values Names and values of a list of keys. */
export function buildKeys(values) {
  const list = build('dl', 'keys')
  for (const [name, value] of Object.entries(values)) {
    const item = build('dd', value ? '' : 'none', value ? shorten(String(value)) : '—')
    item.title = value ? String(value) : ''
    list.append(build('dt', '', name), item)
  }
  return list
}

/**
 * Returns a function that shows a list of rows, one that has not changed staying as it is: open.
 *
 * @template T
 * @param {string} id Of the element that holds them.
 * @param {(item: T) => string} getKey
 * @param {(item: T, details: HTMLDetailsElement) => void} fill
 */
export function keepRows(id, getKey, fill) {
  /** @type {Map<string, { element: HTMLDetailsElement, text: string }>} rows by key */
  const rows = new Map()
  return (/** @type {T[]} */ items) => {
    const seen = new Set()
    const elements = items.map((item) => {
      const key = getKey(item)
      const text = JSON.stringify(item)
      const row = rows.get(key) || { element: build('details', 'action'), text: '' }
      if (row.text !== text) fill(item, row.element)
      row.text = text
      rows.set(key, row)
      seen.add(key)
      return row.element
    })
    for (const key of rows.keys()) if (!seen.has(key)) rows.delete(key)
    placeChildren(find(id), elements)
  }
}

/**
 * Makes `elements` the children of `parent`; one that stays where it is keeps the focus.
 *
 * @param {HTMLElement} parent
 * @param {HTMLElement[]} elements
 */
export function placeChildren(parent, elements) {
  const wanted = new Set(elements)
  for (const child of [...parent.children]) {
    if (!wanted.has(/** @type {HTMLElement} */ (child))) child.remove()
  }
  elements.forEach((element, index) => {
    if (parent.children[index] !== element) {
      parent.insertBefore(element, parent.children[index] || null)
    }
  })
}

/**
 * Makes new `elements` the children of `parent`; what had the focus passes it on to what now has
 * the same `data-key`.
 *
 * @param {HTMLElement} parent
 * @param {Element[]} elements
 */
export function renewChildren(parent, elements) {
  const focused = /** @type {HTMLElement | SVGElement | null} */ (document.activeElement)
  const key = focused && parent.contains(focused) ? focused.dataset.key : undefined
  parent.replaceChildren(...elements)
  if (key === undefined) return
  const keyed = /** @type {NodeListOf<HTMLElement>} */ (parent.querySelectorAll('[data-key]'))
  for (const element of keyed) if (element.dataset.key === key) return element.focus()
}
