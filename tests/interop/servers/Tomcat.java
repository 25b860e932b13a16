// Tomcat, embedded, on the socket that srvinit hands over, as standard input: System.inheritedChannel().
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;

public class Tomcat {
    public static void main(String[] arguments) throws Exception {
        org.apache.catalina.startup.Tomcat tomcat = new org.apache.catalina.startup.Tomcat();
        tomcat.setBaseDir("tomcat");
        Connector connector = new Connector();
        connector.setProperty("useInheritedChannel", "true");
        connector.setPort(8080);
        tomcat.setConnector(connector);
        Context context = tomcat.addContext("", null);
        org.apache.catalina.startup.Tomcat.addServlet(context, "answer", new Answer());
        context.addServletMappingDecoded("/", "answer");
        tomcat.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(tomcat, connector)));
        tomcat.getServer().await();
    }

    static void stop(org.apache.catalina.startup.Tomcat tomcat, Connector connector) {
        try {
            connector.pause();
            tomcat.stop();
        } catch (Exception error) {
            error.printStackTrace();
        }
    }

    static class Answer extends HttpServlet {
        protected void doGet(HttpServletRequest asked, HttpServletResponse response) throws IOException {
            byte[] body = (ProcessHandle.current().pid() + "\n").getBytes();
            response.setContentType("text/plain");
            response.setContentLength(body.length);
            response.getOutputStream().write(body);
        }
    }
}
