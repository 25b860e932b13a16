// node http on fd 3. While it closes it answers with Connection: close, so that no kept-alive
// client sends its next request to a process that is about to end: three lines, marked.
'use strict'
const http = require('node:http')

let closing = false // 1
const server = http.createServer((request, response) => {
  if (closing) response.setHeader('Connection', 'close') // 2
  response.end(`${process.pid}\n`)
})
server.listen({ fd: 3 })
process.on('SIGTERM', () => {
  closing = true // 3
  server.close()
})
