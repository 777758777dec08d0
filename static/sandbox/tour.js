/**
 * A guided tour of the demo: block the pixel, decline, pay, look.
 *
 * @typedef {import('./rows.js').Action} Action
 */
import { build, buildButton, find } from '../parts/elements.js'
import { findArrival } from './rows.js'
import { blockPixel, clearFaults } from './faults.js'

const SHOP = 'http://127.0.0.1:8000' // where scripts/demo serves it
const CLICK = '/?fbclid=demo-click' // as a visitor comes from an ad

/**
 * @typedef {{
 *   title: string, text: string, isDone: (action: Action) => boolean,
 *   act?: [string, () => void], link?: boolean,
 * }} Step
 */

/** @type {(show: (name: string) => void) => Step[]} */
const buildSteps = (show) => [
  {
    title: 'Look around',
    text: 'Open the shop, as if you had clicked an ad, and look at a plant. Each event comes twice, from the browser and from the server, and is merged into one.',
    isDone: (action) => action.merged,
    link: true,
  },
  {
    title: 'Block the pixel',
    text: 'A blocker does the same. Then reload the shop and put a plant into the cart: the server copies come alone.',
    isDone: (action) => action.server.length > 0 && !action.browser.length,
    act: ['Block the pixel', blockPixel],
  },
  {
    title: 'Pay',
    text: 'Let the pixel through again. Order something and pay by card. The payment provider has none of the visitor’s cookies, yet its webhook’s Purchase carries the visitor’s identifiers, the click on the ad included.',
    isDone: (action) => action.event_name === 'Purchase' && action.server.length > 0,
    act: ['Let the pixel through again', clearFaults],
    link: true,
  },
  {
    title: 'Look',
    text: 'The Purchase’s server copy has the hashed e-mail, and the external id, fbp and fbc of the visitor’s pages. “This visitor’s timeline” shows all they did.',
    isDone: () => false,
    act: ['Open the Purchase', () => show('Purchase')],
  },
  {
    title: 'Decline',
    text: 'At the foot of the shop, under Privacy choices, decline; then look at another plant. Nothing comes: no consent, no identifiers. Then choose Allow: events come again, of a visitor that nobody knows.',
    isDone: (action) => action.event_name === 'PageView' && action.merged,
    link: true,
  },
]

let shop = '' // as the sandbox was told

/** @param {Action[]} actions @returns where the shop is */
function findShop(actions) {
  if (shop) return shop
  for (const { server, browser } of actions) {
    const url = server[0]?.event.event_source_url || browser[0]?.dl || ''
    if (/^https?:\/\//.test(url)) return new URL(url).origin
  }
  return SHOP
}

/** @param {(name: string) => void} show Lists the events of a name. */
export function startTour(show) {
  const steps = buildSteps(show)
  const panel = find('tour')
  let at = 0
  let since = 0
  /** @type {Action[]} */
  let last = []
  let wasDone = false

  function draw() {
    const step = steps[at]
    if (!step) return
    wasDone = last.some((action) => findArrival(action) >= since && step.isDone(action))
    const parts = /** @type {Node[]} */ ([
      build('p', 'subtitle', `Tour, ${at + 1} of ${steps.length}`),
      build('h2', '', step.title),
      build('p', '', step.text),
    ])
    if (wasDone) parts.push(build('p', 'done', '✓ It has come: see the list.'))
    const row = build('div', 'controls')
    if (step.link) {
      const link = build('a', 'button', 'Open the shop')
      link.href = findShop(last) + (at ? '/' : CLICK)
      link.target = '_blank'
      link.rel = 'noopener'
      row.append(link)
    }
    if (step.act) row.append(buildButton(...step.act))
    const isLast = at === steps.length - 1
    row.append(
      isLast ? '' : buildButton('Next', () => go(at + 1), 'main'),
      buildButton(isLast ? 'Done' : 'End the tour', () => (panel.hidden = true)),
    )
    panel.replaceChildren(...parts, row)
  }

  /** @param {number} step */
  function go(step) {
    at = step
    since = step ? Date.now() : 0
    draw()
    panel.hidden = false
    panel.focus()
  }

  find('tour-start').addEventListener('click', () => go(0))
  /** @param {Action[]} actions @param {string} address of the shop */
  return function update(actions, address) {
    shop = address
    last = actions
    const step = steps[at]
    const isDone =
      step && actions.some((action) => findArrival(action) >= since && step.isDone(action))
    if (!panel.hidden && isDone && !wasDone) draw()
  }
}
