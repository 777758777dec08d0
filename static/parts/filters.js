/** Filters and pages of a list: what the form says, kept in the page's address. */
import { build, formatNumber } from './elements.js'

const TYPING_MS = 250 // after which a search is asked for

/**
 * @param {HTMLFormElement} form
 * @param {() => void} changed
 */
export function keepFilters(form, changed) {
  let timer = 0

  function read() {
    const params = new URLSearchParams()
    for (const [name, value] of new FormData(form)) {
      if (value) params.set(name, String(value).trim())
    }
    return params
  }

  function apply() {
    clearTimeout(timer)
    history.replaceState(null, '', '#' + read())
    changed()
  }

  /** @param {Record<string, string>} values Others are emptied. */
  function set(values) {
    for (const field of /** @type {any} */ (form.elements)) {
      if (!field.name) continue
      const value = values[field.name] || ''
      if (field.type === 'checkbox') field.checked = Boolean(value)
      else if (field.tagName === 'SELECT') choose(field, value)
      else field.value = value
    }
  }

  set(Object.fromEntries(new URLSearchParams(location.hash.slice(1))))
  form.addEventListener('submit', (event) => event.preventDefault())
  form.addEventListener('change', apply)
  form.addEventListener('input', function () {
    clearTimeout(timer)
    timer = setTimeout(apply, TYPING_MS)
  })
  return {
    read,
    /** @param {Record<string, string>} values */
    set(values) {
      set(values)
      apply()
    },
  }
}

/** @param {HTMLSelectElement} select @param {string} value */
function choose(select, value) {
  if (!value) {
    select.selectedIndex = 0
    return
  }
  if (![...select.options].some((option) => option.value === value)) addOption(select, value)
  select.value = value
}

/** @param {HTMLSelectElement} select @param {string} value */
function addOption(select, value) {
  const option = build('option', '', value)
  option.value = value
  select.append(option)
}

/**
 * Offers `values` besides the first option, which is for all of them.
 *
 * @param {HTMLElement} element
 * @param {string[]} values
 */
export function setOptions(element, values) {
  const select = /** @type {HTMLSelectElement} */ (element)
  const chosen = select.value
  const wanted = chosen && !values.includes(chosen) ? [...values, chosen] : values
  const now = [...select.options].slice(1).map((option) => option.value)
  if (now.join('\n') === wanted.join('\n')) return
  while (select.options.length > 1) select.remove(1)
  for (const value of wanted) addOption(select, value)
  select.value = chosen
}

/**
 * @param {HTMLElement} element Holds a button, a text and a button.
 * @param {number} size Of a page.
 * @param {() => void} changed
 */
export function keepPager(element, size, changed) {
  const [back, text, next] = /** @type {any} */ (element.children)
  const pager = {
    offset: 0,
    /** @param {number} total */
    show(total) {
      if (pager.offset && pager.offset >= total) {
        pager.offset = Math.max(0, Math.floor((total - 1) / size) * size)
        changed()
      }
      const last = Math.min(pager.offset + size, total)
      text.textContent = `${formatNumber(total ? pager.offset + 1 : 0)}–${formatNumber(last)} of ${formatNumber(total)}`
      back.disabled = !pager.offset
      next.disabled = last >= total
      element.hidden = total <= size
    },
  }
  back.addEventListener('click', function () {
    pager.offset = Math.max(0, pager.offset - size)
    changed()
  })
  next.addEventListener('click', function () {
    pager.offset += size
    changed()
  })
  return pager
}
