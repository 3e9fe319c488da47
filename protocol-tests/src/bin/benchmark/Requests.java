import com.sun.tools.attach.VirtualMachine;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;

/** Says for each line that it gets how many requests of each kind the brokers with these process ids have had, then an empty line. */
class Requests {
    public static void main(String[] processes) throws Exception {
        var brokers = new ArrayList<MBeanServerConnection>();
        for (var process : processes) {
            var machine = VirtualMachine.attach(process);
            var url = new JMXServiceURL(machine.startLocalManagementAgent());
            machine.detach();
            brokers.add(JMXConnectorFactory.connect(url).getMBeanServerConnection());
        }
        var counters = new ObjectName("kafka.network:type=RequestMetrics,name=RequestsPerSec,*");
        var questions = new BufferedReader(new InputStreamReader(System.in));
        while (questions.readLine() != null) {
            for (var broker : brokers) {
                // One for each version of a request.
                for (var name : broker.queryNames(counters, null)) {
                    System.out.println(name.getKeyProperty("request") + " " + broker.getAttribute(name, "Count"));
                }
            }
            System.out.println();
            System.out.flush();
        }
    }
}
