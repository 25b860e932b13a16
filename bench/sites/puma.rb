# Two workers that load the application themselves: what a phased restart asks for.
bind 'tcp://127.0.0.1:8080'
workers 2
