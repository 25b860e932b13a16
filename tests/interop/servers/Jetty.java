// Jetty on the socket that srvinit hands over, as standard input: System.inheritedChannel().
import java.io.IOException;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.AbstractHandler;
import org.eclipse.jetty.server.handler.StatisticsHandler;

public class Jetty {
    public static void main(String[] arguments) throws Exception {
        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setInheritChannel(true);
        server.addConnector(connector);
        StatisticsHandler inFlight = new StatisticsHandler();
        inFlight.setHandler(new Answer());
        server.setHandler(inFlight);
        server.setStopAtShutdown(true);
        server.setStopTimeout(10_000);
        server.start();
        server.join();
    }

    static class Answer extends AbstractHandler {
        public void handle(String target, Request request, HttpServletRequest asked, HttpServletResponse response)
                throws IOException {
            byte[] body = (ProcessHandle.current().pid() + "\n").getBytes();
            response.setContentType("text/plain");
            response.setContentLength(body.length);
            response.getOutputStream().write(body);
            request.setHandled(true);
        }
    }
}
