/**
 * What Meta says of the pixel's events, where somebody asks it.
 *
 * @typedef {{
 *   event_name: string, score?: number | null, merged?: number | null, coverage?: number | null,
 *   coverage_goal?: number | null, freshness?: string | null, advice?: string[],
 * }} QualityRow Shares in per cent.
 * @typedef {{ asked: boolean, at?: number, error?: string, rows?: QualityRow[] }} Quality
 */
import { build, buildCell, find } from '../parts/elements.js'

/** @param {number | null | undefined} number @param {string} [unit] */
function format(number, unit) {
  if (number === null || number === undefined) return '–'
  return (unit ? Math.round(number) : number) + (unit || '')
}

/** @param {QualityRow} row */
function buildRow(row) {
  const advice = build('td', 'wide')
  const items = (row.advice || []).map((text) => build('li', '', text))
  if (items.length) advice.append(build('ul', '', ...items))
  const goal = row.coverage_goal ? `, goal ${row.coverage_goal} %` : ''
  const head = build('th', '', row.event_name)
  head.scope = 'row'
  return build(
    'tr',
    '',
    head,
    buildCell('Match quality', 'number', format(row.score)),
    buildCell('Merged', 'number', format(row.merged, ' %')),
    buildCell('Coverage', 'number', format(row.coverage, ' %') + goal),
    buildCell('Freshness', '', row.freshness || '–'),
    advice,
  )
}

/** @param {Quality} quality */
export function showQuality({ asked, at, error, rows = [] }) {
  const place = find('quality')
  if (!asked) {
    place.replaceChildren(
      build(
        'p',
        'why',
        'Not asked. Events Manager shows it; match quality is Meta’s to say, so nothing is guessed here.',
      ),
    )
    return
  }
  const troubles = error ? [build('p', 'bad', error)] : []
  if (!rows.length) {
    const none = build('p', 'why', 'Meta has no figures yet: they need some days of events.')
    place.replaceChildren(...(error ? troubles : [none]))
    return
  }
  const columns = ['Event', 'Match quality', 'Merged', 'Coverage', 'Freshness', 'What to do']
  const head = columns.map((name) => build('th', '', name))
  const table = build(
    'table',
    'cards',
    build('thead', '', build('tr', '', ...head)),
    build('tbody', '', ...rows.map(buildRow)),
  )
  const when = at ? 'Asked ' + new Date(at * 1000).toLocaleString('en-GB') : ''
  place.replaceChildren(...troubles, build('div', 'scrolls', table), build('p', 'why', when))
}
