// node http on fd 3. While it closes it answers with Connection: close, so that no kept-alive
// client sends its next request to a process that is about to end: README.md's three lines.
'use strict'
const http = require('node:http')

const server = http.createServer((request, response) => response.end(`${process.pid}\n`))
server.listen({fd: 3})

let closing = false
server.prependListener('request', (_, response) => { if (closing) response.setHeader('Connection', 'close') })
process.on('SIGTERM', () => { closing = true; require('node:net').Server.prototype.close.call(server) })
