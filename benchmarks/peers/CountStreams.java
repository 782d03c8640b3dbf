import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Properties;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.processor.api.*;
import org.apache.kafka.streams.state.*;

/** Kafka Streams: count per key, exactly once, one thread. Arguments: bootstrap, records, state directory. */
public class CountStreams {
    static long seen, firstSeen, firstAt;
    static KafkaStreams streams;

    static synchronized void tick(long total) {
        if (++seen == total / 10) { firstSeen = seen; firstAt = System.nanoTime(); }
        if (seen == total) {
            System.out.printf("kafka-streams %.0f rec/s%n", (seen - firstSeen) / ((System.nanoTime() - firstAt) / 1e9));
            new Thread(() -> { streams.close(java.time.Duration.ofSeconds(20)); Runtime.getRuntime().halt(0); }).start();
        }
    }

    public static void main(String[] args) throws Exception {
        long total = Long.parseLong(args[1]);
        Properties p = new Properties();
        p.put("application.id", "streams" + ProcessHandle.current().pid());
        p.put("bootstrap.servers", args[0]);
        p.put("processing.guarantee", "exactly_once_v2");
        p.put("commit.interval.ms", "100");
        p.put("num.stream.threads", "1");
        p.put("state.dir", args[2]);
        p.put("replication.factor", "1");
        p.put("auto.offset.reset", "earliest");
        ObjectMapper json = new ObjectMapper();
        Topology topology = new Topology();
        topology.addSource("source", new StringDeserializer(), new ByteArrayDeserializer(), "events");
        topology.addProcessor("count", () -> new Processor<String, byte[], String, byte[]>() {
            KeyValueStore<String, Long> counts;
            ProcessorContext<String, byte[]> context;
            public void init(ProcessorContext<String, byte[]> c) { context = c; counts = c.getStateStore("counts"); }
            public void process(org.apache.kafka.streams.processor.api.Record<String, byte[]> record) {
                try {
                    JsonNode event = json.readTree(record.value());
                    Long before = counts.get(record.key());
                    long count = before == null ? 1 : before + 1;
                    counts.put(record.key(), count);
                    ObjectNode result = json.createObjectNode();
                    result.put("key", record.key()).put("count", count).set("amount", event.get("amount"));
                    context.forward(record.withValue(json.writeValueAsBytes(result)));
                    tick(total);
                } catch (java.io.IOException e) { throw new RuntimeException(e); }
            }
        }, "source");
        topology.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("counts"), Serdes.String(), Serdes.Long())
            .withCachingEnabled(), "count");
        topology.addSink("sink", "counts", new StringSerializer(), new ByteArraySerializer(), "count");
        streams = new KafkaStreams(topology, p);
        streams.start();
        Thread.sleep(600_000);
    }
}
