import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Kafka Streams as its users write it, exactly once, one thread.
 * Arguments: bootstrap, records, state directory, and what to do: hopping, join or group_by.
 */
public class StreamsKinds {
    static final ObjectMapper JSON = new ObjectMapper();
    static final AtomicLong seen = new AtomicLong();
    static volatile long startedAt;

    /** Time from a tenth of the records on, so that start-up does not count. */
    static void step(long total) {
        long now = seen.incrementAndGet();
        if (now == total / 10) {
            startedAt = System.nanoTime();
        }
        if (now == total) {
            double seconds = (System.nanoTime() - startedAt) / 1e9;
            System.out.printf("kafka-streams %.0f rec/s%n", (total - total / 10) / seconds);
            Runtime.getRuntime().halt(0);
        }
    }

    static JsonNode read(byte[] value) {
        try {
            return JSON.readTree(value);
        } catch (IOException error) {
            throw new RuntimeException(error);
        }
    }

    static byte[] write(ObjectNode node) {
        try {
            return JSON.writeValueAsBytes(node);
        } catch (IOException error) {
            throw new RuntimeException(error);
        }
    }

    public static void main(String[] args) throws Exception {
        long total = Long.parseLong(args[1]);
        Properties settings = new Properties();
        settings.put("application.id", "streams" + ProcessHandle.current().pid());
        settings.put("bootstrap.servers", args[0]);
        settings.put("processing.guarantee", "exactly_once_v2");
        settings.put("commit.interval.ms", "100");
        settings.put("num.stream.threads", "1");
        settings.put("state.dir", args[2]);
        settings.put("replication.factor", "1");
        settings.put("auto.offset.reset", "earliest");
        StreamsBuilder builder = new StreamsBuilder();
        Consumed<String, byte[]> consumed = Consumed.with(Serdes.String(), Serdes.ByteArray());
        switch (args[3]) {
            case "hopping" -> hopping(builder, consumed, total);
            case "join" -> join(builder, consumed, total);
            case "group_by" -> groupBy(builder, consumed, total);
            default -> throw new IllegalArgumentException(args[3]);
        }
        new KafkaStreams(builder.build(), settings).start();
        Thread.sleep(600_000);
    }

    /** Count and sum per user over hopping windows of event time, each told once, when it closes. */
    static void hopping(StreamsBuilder builder, Consumed<String, byte[]> consumed, long total) {
        consumed = consumed.withTimestampExtractor(
            (record, before) -> read((byte[]) record.value()).get("ts").asLong() * 1000);
        TimeWindows windows = TimeWindows.ofSizeAndGrace(Duration.ofSeconds(100_000), Duration.ZERO)
            .advanceBy(Duration.ofSeconds(50_000));
        builder.stream("events", consumed)
            .peek((key, value) -> step(total))
            .groupByKey(Grouped.with(Serdes.String(), Serdes.ByteArray()))
            .windowedBy(windows)
            .emitStrategy(EmitStrategy.onWindowClose())
            .aggregate(
                () -> 0.0,
                (key, value, sum) -> sum + read(value).get("amount").asDouble(),
                Materialized.<String, Double, WindowStore<Bytes, byte[]>>as("sums")
                    .withKeySerde(Serdes.String()).withValueSerde(Serdes.Double()))
            .toStream()
            .map((window, sum) -> org.apache.kafka.streams.KeyValue.pair(window.key(), write(
                JSON.createObjectNode().put("key", window.key()).put("start", window.window().start()).put("amount", sum))))
            .to("counts", Produced.with(Serdes.String(), Serdes.ByteArray()));
    }

    /** Each event with the profile of its user. */
    static void join(StreamsBuilder builder, Consumed<String, byte[]> consumed, long total) {
        KTable<String, byte[]> users = builder.table("users", consumed);
        builder.stream("events", consumed)
            .peek((key, value) -> step(total))
            .join(users, (event, user) -> write(
                JSON.createObjectNode().put("country", read(user).get("country").asText())
                    .put("amount", read(event).get("amount").asDouble())),
                Joined.with(Serdes.String(), Serdes.ByteArray(), Serdes.ByteArray()))
            .to("counts", Produced.with(Serdes.String(), Serdes.ByteArray()));
    }

    /** Events by merchant, through a topic of its own, and a count of each. */
    static void groupBy(StreamsBuilder builder, Consumed<String, byte[]> consumed, long total) {
        KStream<String, byte[]> events = builder.stream("events", consumed);
        events.selectKey((key, value) -> read(value).get("merchant").asText())
            .groupByKey(Grouped.with(Serdes.String(), Serdes.ByteArray()))
            .aggregate(
                () -> 0L,
                (key, value, count) -> {
                    step(total);
                    read(value);
                    return count + 1;
                },
                Materialized.with(Serdes.String(), Serdes.Long()))
            .toStream()
            .map((key, count) -> org.apache.kafka.streams.KeyValue.pair(key, write(
                JSON.createObjectNode().put("key", key).put("count", count))))
            .to("counts", Produced.with(Serdes.String(), Serdes.ByteArray()));
    }
}
