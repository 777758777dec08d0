/** What the parts of the events page share: finding, building and keeping elements. */

/** @param {string} id @returns {HTMLElement} */
export function find(id) {
  const element = document.getElementById(id)
  if (!element) throw new Error('the page has no element ' + id)
  return element
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

/** @param {number} ms */
export function formatTime(ms) {
  return new Date(ms).toLocaleTimeString('en-GB')
}

/** @param {string} text */
export function shorten(text) {
  return text.length > 22 ? text.slice(0, 12) + '…' + text.slice(-8) : text
}

/** @param {number} count @param {string} noun */
export function formatCount(count, noun) {
  return count.toLocaleString('en') + ' ' + noun + (count === 1 ? '' : 's')
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
    find(id).replaceChildren(...elements)
  }
}
