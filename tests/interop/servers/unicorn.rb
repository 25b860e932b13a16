# unicorn compares this address with that of the inherited socket, and takes that if they are equal.
listen ENV.fetch("ADDRESS")
worker_processes 1
