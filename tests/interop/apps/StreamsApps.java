import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Kafka Streams apps that run exactly once until SIGTERM. Arguments: count | join, bootstrap, state
 * directory. Caches are off, so every input record shows as one result: "count" or "count sum".
 */
public class StreamsApps {

    /** How often each key of `events` was seen, to `counts`. */
    static void count(StreamsBuilder builder) {
        builder.stream("events", Consumed.with(Serdes.String(), Serdes.String()))
            .groupByKey().count().mapValues(n -> n.toString()).toStream()
            .to("counts", Produced.with(Serdes.String(), Serdes.String()));
    }

    /** Orders joined with the region of their customer; number and sum per region, to `totals`. */
    static void join(StreamsBuilder builder) {
        Consumed<String, String> text = Consumed.with(Serdes.String(), Serdes.String());
        KTable<String, String> regions = builder.table("customers", text);
        builder.stream("orders", text)
            .join(regions, (amount, region) -> region + " " + amount)
            .map((customer, joined) -> KeyValue.pair(joined.split(" ")[0], joined.split(" ")[1]))
            .groupByKey(Grouped.with(Serdes.String(), Serdes.String()))
            .aggregate(() -> "0 0", (region, amount, total) -> {
                String[] parts = total.split(" ");
                long sum = Long.parseLong(parts[1]) + Long.parseLong(amount);
                return (Long.parseLong(parts[0]) + 1) + " " + sum;
            }, Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("totals-store")
                .withKeySerde(Serdes.String()).withValueSerde(Serdes.String()))
            .toStream().to("totals", Produced.with(Serdes.String(), Serdes.String()));
    }

    public static void main(String[] args) {
        Properties p = new Properties();
        p.put("application.id", "streams-" + args[0]);
        p.put("bootstrap.servers", args[1]);
        p.put("state.dir", args[2]);
        p.put("processing.guarantee", "exactly_once_v2");
        p.put("commit.interval.ms", "50");
        p.put("num.stream.threads", "2");
        p.put("replication.factor", "1");
        p.put("auto.offset.reset", "earliest");
        p.put("statestore.cache.max.bytes", "0");
        p.put("session.timeout.ms", "6000");
        p.put("heartbeat.interval.ms", "1000");
        p.put("reconnect.backoff.max.ms", "500");
        p.put("default.key.serde", Serdes.StringSerde.class.getName());
        p.put("default.value.serde", Serdes.StringSerde.class.getName());
        StreamsBuilder builder = new StreamsBuilder();
        if (args[0].equals("count")) count(builder); else join(builder);
        KafkaStreams streams = new KafkaStreams(builder.build(), p);
        streams.setStateListener((now, before) -> System.out.println(now));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.start();
    }
}
