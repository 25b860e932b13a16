# One worker of its own for each that srvinit starts, on the inherited socket.
listen '127.0.0.1:8080'
worker_processes 1
