import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Apache Kafka's command line tools one after another in one JVM, which saves a start for each.
 * A line on stdin is {"main": class, "arguments": [...], "stdin": text}, a line on stdout the answer
 * {"status": exit status, "output": what the tool printed on stdout and stderr}.
 */
public class Tools {
    /** Takes the tool back out of its main. Some tools catch it and exit again: the first status counts. */
    static class Exited extends Error { }
    static Integer exited;

    static void exit(int status) {
        if (exited == null) exited = status;
        throw new Exited();
    }

    public static void main(String[] ignored) throws Exception {
        Exit.setExitProcedure((status, message) -> exit(status));
        Exit.setHaltProcedure((status, message) -> exit(status));
        List<Runnable> hooks = new ArrayList<>();
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        ObjectMapper json = new ObjectMapper();
        PrintStream answers = System.out;
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = requests.readLine()) != null; ) {
            JsonNode request = json.readTree(line);
            String[] arguments = json.convertValue(request.get("arguments"), String[].class);
            ByteArrayOutputStream printed = new ByteArrayOutputStream();
            PrintStream out = new PrintStream(printed, true, StandardCharsets.UTF_8);
            System.setIn(new ByteArrayInputStream(request.get("stdin").asText().getBytes(StandardCharsets.UTF_8)));
            System.setOut(out);
            System.setErr(out);
            exited = null;
            int thrown = 0;
            try {
                Class.forName(request.get("main").asText()).getMethod("main", String[].class).invoke(null, (Object) arguments);
            } catch (InvocationTargetException e) {
                if (exited == null) e.getCause().printStackTrace(out);
                thrown = 1;
            }
            hooks.forEach(Runnable::run);
            hooks.clear();
            out.flush();
            Map<String, Object> answer = new HashMap<>();
            answer.put("status", exited == null ? thrown : exited);
            answer.put("output", printed.toString(StandardCharsets.UTF_8));
            answers.println(json.writeValueAsString(answer));
            answers.flush();
        }
    }
}
