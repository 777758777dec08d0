/** Asking the dashboard's server. Addresses are relative: it may be mounted anywhere. */
import { find } from '../parts/elements.js'

/** @param {string} path @returns {Promise<any>} what it answers */
export async function ask(path) {
  return read(await fetch(path, { headers: { accept: 'application/json' } }))
}

/** @param {string} path @param {object} body @returns {Promise<any>} */
export async function tell(path, body) {
  const headers = { 'content-type': 'application/json' }
  return read(await fetch(path, { method: 'POST', headers, body: JSON.stringify(body) }))
}

/** @param {Response} response */
async function read(response) {
  const answer = await response.json().catch(() => ({})) // a proxy's answer may be no JSON
  if (!response.ok) throw new Error(answer.error || 'the server answered ' + response.status)
  return answer
}

/** @param {unknown} [error] Nothing, if all is well again. */
export function showTrouble(error) {
  find('trouble').hidden = !error
  find('trouble').textContent = error instanceof Error ? error.message : String(error || '')
}
