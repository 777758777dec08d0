/** What leaves a page: files of what it shows, and lines for the clipboard. */

// A spreadsheet runs a cell that begins like this as a formula, also behind white space.
const FORMULA = /^[\s'"]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]/

/** @param {unknown} value @returns one cell of CSV that no spreadsheet takes for a formula */
export function writeCell(value) {
  if (value === null || value === undefined) return ''
  if (typeof value === 'number') return String(value)
  const text = String(value)
  return '"' + (FORMULA.test(text) ? "'" : '') + text.replaceAll('"', '""') + '"'
}

/** @param {unknown[][]} rows The first one has the columns' names. */
export function writeCsv(rows) {
  return rows.map((row) => row.map(writeCell).join(',') + '\r\n').join('')
}

/** @param {string} name @param {string} type @param {string} text */
export function saveFile(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000) // by then the browser has read it
}

/** @param {HTMLElement} button @param {HTMLElement} source Whose text is copied. */
export async function copyText(button, source) {
  const told = button.textContent
  try {
    await navigator.clipboard.writeText(source.textContent || '')
    button.textContent = 'Copied'
  } catch {
    getSelection()?.selectAllChildren(source) // no clipboard here: one key is left to press
    button.textContent = 'Press Ctrl+C'
  }
  setTimeout(() => (button.textContent = told), 2000)
}
