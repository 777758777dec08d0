// Checked by tsc, never run: how an app in TypeScript uses bridge.d.ts.
window.bridge = window.bridge || []
window.bridge.push(['track', 'ViewContent', { content_ids: ['fern'], value: 24, currency: 'EUR' }])
window.bridge.push(['page'])

export async function order(total: number): Promise<string | undefined> {
  if (Array.isArray(window.bridge)) return undefined
  const id: string = window.bridge.track('Purchase', { value: total, currency: 'EUR' })
  const state: 'granted' | 'limited' | 'denied' | 'pending' = await window.bridge.consent('granted')
  window.bridge.track('GardenPlanned', { beds: 3 }, { eventID: id })
  // @ts-expect-error: not a choice
  await window.bridge.consent('grant')
  // @ts-expect-error: value is a number
  window.bridge.track('Purchase', { value: '24' })
  // @ts-expect-error: no such call
  window.bridge.push(['tracks', 'Lead'])
  return state === 'granted' ? window.bridge.identity()?.external_id : window.bridge.page()
}
