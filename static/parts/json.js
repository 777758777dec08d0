/** JSON as a page shows it: indented text, with one place in it marked. */
import { build } from './elements.js'

/**
 * @param {unknown} value
 * @param {string[]} [path] Of the place to mark, such as ['user_data', 'em'].
 */
export function buildJson(value, path) {
  const pre = build('pre')
  pre.tabIndex = 0 // it scrolls
  write(pre, value, '', path && path.length ? path : null)
  return pre
}

/** @param {string} field As Meta names it. @returns {string[]} its keys within the event */
export function parseField(field) {
  return [...field.matchAll(/\[([^[\]]+)\]/g)].map((match) => match[1] || '').slice(1)
}

/**
 * @param {HTMLElement} out
 * @param {any} value
 * @param {string} indent
 * @param {string[] | null} path What is left of it, if it leads here.
 */
function write(out, value, indent, path) {
  if (value === null || typeof value !== 'object') {
    out.append(JSON.stringify(value))
    return
  }
  const isList = Array.isArray(value)
  const entries = Object.entries(value)
  const inner = indent + '  '
  const [key, ...rest] = path || []
  const isMissing = key !== undefined && !rest.length && !(key in value)
  if (!entries.length && !isMissing) {
    out.append(isList ? '[]' : '{}')
    return
  }
  out.append(isList ? '[\n' : '{\n')
  entries.forEach(([name, item], index) => {
    const leads = name === key
    const place = leads && !rest.length ? build('mark') : out
    out.append(inner)
    if (place !== out) out.append(place)
    if (!isList) place.append(JSON.stringify(name) + ': ')
    write(place, item, inner, leads && rest.length ? rest : null)
    out.append(index < entries.length - 1 || isMissing ? ',\n' : '\n')
  })
  if (isMissing) out.append(inner, build('mark', '', key + ' is missing here'), '\n')
  out.append(indent + (isList ? ']' : '}'))
}
