// Checked by tsc, never run: how an app in TypeScript uses bridge.d.ts. The examples of the docs are
// checked by tests/test_docs.py.
window.bridge = window.bridge || []
window.bridge.push(['track', 'ViewContent', { content_ids: ['fern'], value: 24, currency: 'EUR' }])
window.bridge ||= []
bridge.push(['page'])
bridge.push(['consent', 'denied'])
window.bridge.page()

export async function order(total: number): Promise<string | undefined> {
  if (Array.isArray(window.bridge)) return undefined
  const id: string = bridge.track('Purchase', { value: total, currency: 'EUR' })
  const state: 'granted' | 'limited' | 'denied' | 'pending' = await bridge.consent('granted')
  window.bridge.track('GardenPlanned', { beds: 3 }, { eventID: id })
  return state === 'granted' ? bridge.identity()?.external_id : bridge.page()
}

export function misuse(): void {
  // @ts-expect-error: not a choice
  bridge.consent('grant')
  // @ts-expect-error: value is a number
  window.bridge.track('Purchase', { value: '24' })
  // @ts-expect-error: no such option
  bridge.track('Purchase', {}, { event_id: '1' })
  // @ts-expect-error: no such call
  bridge.push(['tracks', 'Lead'])
  // @ts-expect-error: no such choice
  window.bridge.push(['consent', 'grant'])
  // @ts-expect-error: one call at a time
  bridge.push(['page'], ['page'])
  // @ts-expect-error: no such method
  bridge.tracks('Lead')
  // @ts-expect-error: no such call
  window.bridge = [['tracks', 'Lead']]
  // @ts-expect-error: neither the script's nor an array
  window.bridge = 'Lead'
}
