/**
 * Dead letters by reason, and the buttons that try them again or delete them.
 *
 * @typedef {{
 *   destination: string, group: string, reason: string, count: number, names: string[],
 *   newest: number, oldest: number,
 * }} Group
 * @typedef {{
 *   destination: string, group?: string, event_id?: string, event_name?: string, name?: string,
 *   day?: string, most?: number, until?: number,
 * }} Chosen
 */
import {
  build,
  buildButton,
  buildCell,
  find,
  formatAge,
  formatCount,
  formatNumber,
  placeChildren,
} from '../parts/elements.js'
import { showTrouble, tell } from './server.js'

const SURE_MS = 5000 // within which the second press must come

/** @param {{ left: number, is_all: boolean }} answer */
function describeLeft({ left, is_all }) {
  if (left) return `; ${formatNumber(left)}${is_all ? '' : '+'} left: press again`
  return is_all ? '' : '; there may be more: press again'
}

/**
 * @param {() => { chosen: Chosen, count: number, isAll: boolean }} read What a press is about: it is
 *   asked when it is pressed, for counts change.
 * @param {(said: string) => void} done
 */
export function buildDeadButtons(read, done) {
  /** @param {string} path @param {Chosen} chosen @param {(answer: any) => string} describe */
  async function act(path, chosen, describe) {
    // Not disabled, which would take the focus away.
    if (row.getAttribute('aria-busy')) return
    row.setAttribute('aria-busy', 'true')
    try {
      const answer = await tell(path, chosen)
      done(describe(answer) + describeLeft(answer) + '.')
      showTrouble()
    } catch (error) {
      showTrouble(error)
    }
    row.removeAttribute('aria-busy')
  }

  const retry = buildButton(
    'Try again',
    () =>
      act('api/dead/retry', read().chosen, ({ revived, too_old }) => {
        const old = too_old ? `; ${formatNumber(too_old)} are too old for it` : ''
        return `${formatCount(revived, 'event')} due again${old}`
      }),
    'small',
  )
  const remove = buildButton('Delete', sure, 'small')
  let timer = 0
  /** @type {Chosen | null} what was asked about: no more than that is deleted */
  let asked = null
  function calm() {
    clearTimeout(timer)
    asked = null
    remove.textContent = 'Delete'
  }
  function sure() {
    if (asked) {
      const chosen = asked
      calm()
      act('api/dead/delete', chosen, ({ deleted }) => formatCount(deleted, 'event') + ' deleted')
      return
    }
    const { chosen, count, isAll } = read()
    asked = chosen
    const number = formatNumber(count)
    remove.textContent = `Really delete ${isAll ? number : `${number} of ${number}+`}?`
    timer = setTimeout(calm, SURE_MS)
  }
  const row = build('span', 'controls', retry, remove)
  return row
}

/**
 * One reason's row. Its buttons stay while its figures change: somebody may be about to press one.
 *
 * @param {(said: string) => void} done
 */
function buildRow(done) {
  /** @type {{ chosen: Chosen, count: number, isAll: boolean }} */
  let about = { chosen: { destination: '' }, count: 0, isAll: true }
  const head = build('th', 'plain')
  head.scope = 'row'
  const count = buildCell('Count', 'number bad')
  const names = buildCell('Events', 'names')
  const newest = buildCell('Newest', '')
  const buttons = build(
    'td',
    'wide',
    buildDeadButtons(() => about, done),
  )
  const element = build('tr', '', head, count, names, newest, buttons)

  /** @param {Group} group @param {boolean} isAll @param {Filters} filters @param {number} now */
  function fill(group, isAll, filters, now) {
    const { destination } = group
    head.replaceChildren(group.reason, build('small', 'where', destination))
    count.textContent = formatNumber(group.count) + (isAll ? '' : '+')
    names.textContent = group.names.join(', ')
    newest.textContent = formatAge(Math.max(0, now - group.newest)) + ' ago'
    const chosen = { destination, group: group.group, ...filters, most: group.count }
    about = { chosen: { ...chosen, until: group.newest }, count: group.count, isAll }
  }
  return { element, fill }
}

/** @typedef {{ name: string, day: string }} Filters What the reasons are filtered by. */

/** @type {Map<string, ReturnType<typeof buildRow>>} rows by destination, reason and filters */
const rows = new Map()
const note = build('tr', '')

/**
 * @param {{ groups: Group[], is_all: boolean, scanned: number }} dead
 * @param {Filters} filters
 * @param {number} now
 * @param {(said: string) => void} done
 */
export function showDead({ groups, is_all, scanned }, filters, now, done) {
  find('dead-none').hidden = groups.length > 0
  const seen = new Set()
  const elements = groups.map((group) => {
    // With other filters its "Really delete?" would be about others.
    const key = JSON.stringify([group.destination, group.group, filters])
    const row = rows.get(key) || buildRow(done)
    row.fill(group, is_all, filters, now)
    rows.set(key, row)
    seen.add(key)
    return row.element
  })
  for (const key of rows.keys()) if (!seen.has(key)) rows.delete(key)
  if (!is_all) {
    note.replaceChildren(
      build('td', 'wide', `Only the newest ${formatNumber(scanned)} were looked at.`),
    )
    elements.push(note)
  }
  keepFocus(() => placeChildren(find('dead'), elements))
}

/**
 * Has the focus where it was, though its row was moved; if the row is gone, where it is said why.
 *
 * @param {() => void} move
 */
function keepFocus(move) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement)
  const isHere = find('dead').contains(focused)
  move()
  if (!isHere || document.activeElement === focused) return
  if (focused?.isConnected) focused.focus()
  else find('dead-said').focus()
}
