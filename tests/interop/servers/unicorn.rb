# unicorn compares this address with that of the inherited socket, and takes that if they are equal.
listen 8080
worker_processes 1
