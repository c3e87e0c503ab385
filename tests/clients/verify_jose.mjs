// Verifies a token with npm's jose, as a Node service would: discovery, then the remote JWKS.
// usage: node verify_jose.mjs MODULES_DIR ISSUER ALGORITHM AUDIENCE TOKEN   (NODE_EXTRA_CA_CERTS set)
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [modules, issuer, algorithm, audience, token] = process.argv.slice(2)
const entry = createRequire(modules + '/package.json').resolve('jose')
const { createRemoteJWKSet, jwtVerify } = await import(pathToFileURL(entry))

const discovery = await (await fetch(issuer + '/.well-known/openid-configuration')).json()
if (discovery.issuer !== issuer) throw new Error(`discovery names ${discovery.issuer}`)
const keys = createRemoteJWKSet(new URL(discovery.jwks_uri))
const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer, audience, algorithms: [algorithm] })
console.log(JSON.stringify({ payload, protectedHeader }))
