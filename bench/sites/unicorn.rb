# Two workers, and the hook of unicorn's own example: the new master asks the old one to quit.
listen '127.0.0.1:8080'
worker_processes 2
pid "#{__dir__}/unicorn.pid"
before_fork do |server, worker|
  old = "#{server.config[:pid]}.oldbin"
  if File.exist?(old) && server.pid != old && worker.nr == server.worker_processes - 1
    begin
      Process.kill(:QUIT, File.read(old).to_i)
    rescue Errno::ENOENT, Errno::ESRCH
      nil # it has gone already
    end
  end
end
