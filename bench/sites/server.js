// app.py in node: see there. On fd 3 under srvinit, else on the port, as pm2 has its programs do.
'use strict'
const fs = require('node:fs')
const http = require('node:http')

const here = __dirname
const release = fs.readFileSync(`${here}/release`, 'utf8').trim()
const blocked = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
if (release === 'exits') { console.error('this release does not start'); process.exit(1) }
if (release === 'hangs') blocked(3600e3)
fs.writeFileSync(`${here}/lives/${process.pid}`, '')

const server = http.createServer((request, response) => {
  if (request.url === '/slow') blocked(200)
  if (request.url === '/deaf') { fs.writeFileSync(`${here}/deaf`, ''); blocked(3600e3) }
  response.end(`${process.pid}\n`)
})
server.listen(process.env.LISTEN_FDS ? {fd: 3} : {port: 8080, host: '127.0.0.1'}, () => {
  if (process.send) process.send('ready')
  if (release === 'dies') setTimeout(() => process.exit(1), 300)
})

// README.md's three lines, for both; and pm2 asks by SIGINT, and is told the end by an exit
let closing = false
server.prependListener('request', (_, response) => { if (closing) response.setHeader('Connection', 'close') })
const stop = () => { closing = true; require('node:net').Server.prototype.close.call(server, () => process.exit(0)) }
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
