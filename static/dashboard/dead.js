/**
 * Dead letters by reason, and the buttons that try them again or delete them.
 *
 * @typedef {{
 *   destination: string, group: string, reason: string, count: number, names: string[],
 *   newest: number, oldest: number,
 * }} Group
 * @typedef {{ destination: string, group?: string, event_id?: string, event_name?: string }} Chosen
 */
import {
  build,
  buildButton,
  buildCell,
  find,
  formatAge,
  formatCount,
  formatNumber,
} from '../parts/elements.js'
import { showTrouble, tell } from './server.js'

const SURE_MS = 5000 // within which the second press must come

/**
 * @param {Chosen} chosen
 * @param {number} count
 * @param {(said: string) => void} done
 */
export function buildDeadButtons(chosen, count, done) {
  /** @param {string} path @param {(answer: any) => string} describe */
  async function act(path, describe) {
    for (const button of row.querySelectorAll('button')) button.disabled = true
    try {
      done(describe(await tell(path, chosen)))
      showTrouble()
    } catch (error) {
      showTrouble(error)
    }
    for (const button of row.querySelectorAll('button')) button.disabled = false
  }

  const retry = buildButton(
    'Try again',
    () =>
      act('api/dead/retry', ({ revived, too_old }) => {
        const old = too_old ? `; ${formatNumber(too_old)} are too old for it` : ''
        return `${formatCount(revived, 'event')} due again${old}.`
      }),
    'small',
  )
  const remove = buildButton('Delete', sure, 'small')
  let timer = 0
  function sure() {
    if (remove.dataset.sure) {
      act('api/dead/delete', ({ deleted }) => formatCount(deleted, 'event') + ' deleted.')
      return
    }
    remove.dataset.sure = 'asked'
    remove.textContent = `Really delete ${formatNumber(count)}?`
    clearTimeout(timer)
    timer = setTimeout(function () {
      delete remove.dataset.sure
      remove.textContent = 'Delete'
    }, SURE_MS)
  }
  const row = build('span', 'controls', retry, remove)
  return row
}

let shown = ''

/**
 * @param {{ groups: Group[], is_all: boolean, scanned: number }} dead
 * @param {number} now
 * @param {(said: string) => void} done
 */
export function showDead({ groups, is_all, scanned }, now, done) {
  // A row that has not changed stays: somebody may be about to press its button.
  const text = JSON.stringify(groups)
  find('dead-none').hidden = groups.length > 0
  if (text === shown) return
  shown = text
  find('dead').replaceChildren(
    ...groups.map(({ destination, group, reason, count, names, newest }) => {
      const head = build('th', 'plain', reason, build('small', 'where', destination))
      head.scope = 'row'
      return build(
        'tr',
        '',
        head,
        buildCell('Count', 'number bad', formatNumber(count) + (is_all ? '' : '+')),
        buildCell('Events', '', names.join(', ')),
        buildCell('Newest', '', formatAge(Math.max(0, now - newest)) + ' ago'),
        build('td', 'wide', buildDeadButtons({ destination, group }, count, done)),
      )
    }),
  )
  if (!is_all) {
    const note = `Only the newest ${formatNumber(scanned)} were looked at.`
    find('dead').append(build('tr', '', build('td', 'wide', note)))
  }
}
