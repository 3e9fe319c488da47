import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.DefaultRecordBatch;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;

/**
 * Writes record batches as Java's producer, the brokers' transaction coordinator and the log cleaner make them, each below
 * what Java's own reader finds in it.
 */
public class Batches {
    private static final long TIME = 1_700_000_000_000L;
    private static final Header[] NONE = {};
    private static final byte MAGIC = RecordBatch.MAGIC_VALUE_V2;
    private static final int BUFFER_BYTES = 1 << 18;
    /** A value of one letter is written as its length: several blocks of every codec, in a line that can be read. */
    private static final int BLOCKS_BYTES = 150_000;

    private final StringBuilder text = new StringBuilder();

    /** The file to write to. */
    public static void main(String[] arguments) throws Exception {
        Batches batches = new Batches();
        for (CompressionType codec : CompressionType.values()) {
            batches.produced("plain_" + codec.name, codec, 0, -1, (short) -1, -1, false);
            batches.produced("idempotent_" + codec.name, codec, 17, 4_000_000_001L, (short) 3, 2_147_483_640, false);
            batches.produced("transactional_" + codec.name, codec, 5_000_000_000L, 7, Short.MAX_VALUE, 0, true);
            if (codec != CompressionType.NONE) {
                MemoryRecordsBuilder large = builder(codec, TimestampType.CREATE_TIME, 0, -1, (short) -1, -1, false);
                large.append(TIME, bytes("large"), "a".repeat(BLOCKS_BYTES).getBytes(StandardCharsets.UTF_8), NONE);
                batches.keep("blocks_" + codec.name, large.build());
            }
        }
        batches.stored();
        Files.writeString(Path.of(arguments[0]), batches.text);
    }

    private static MemoryRecordsBuilder builder(CompressionType codec, TimestampType times, long baseOffset, long producerId,
                                                short producerEpoch, int baseSequence, boolean isTransactional) {
        return MemoryRecords.builder(ByteBuffer.allocate(BUFFER_BYTES), MAGIC, Compression.of(codec).build(), times,
            baseOffset, TIME + 99_000, producerId, producerEpoch, baseSequence, isTransactional, false, 6);
    }

    /** Of every shape that a record has. */
    private void produced(String name, CompressionType codec, long baseOffset, long producerId, short producerEpoch,
                          int baseSequence, boolean isTransactional) {
        MemoryRecordsBuilder builder =
            builder(codec, TimestampType.CREATE_TIME, baseOffset, producerId, producerEpoch, baseSequence, isTransactional);
        Header[] headers = {
            new RecordHeader("h", bytes("first")), new RecordHeader("h", bytes("second")), new RecordHeader("", null),
            new RecordHeader("\u00e9", new byte[] {(byte) 0xff, 0}),
        };
        builder.append(TIME, bytes("key"), bytes("a value, a value, a value, a value"), NONE);
        builder.append(TIME + 5_000, null, bytes("no key"), headers);
        builder.append(TIME - 3, bytes("a tombstone"), null, NONE);
        builder.append(TIME, null, (byte[]) null, new Header[] {headers[2]});
        builder.append(TIME, new byte[0], new byte[0], NONE);
        keep(name, builder.build());
    }

    /** What only a broker writes. */
    private void stored() {
        MemoryRecordsBuilder appended =
            builder(CompressionType.LZ4, TimestampType.LOG_APPEND_TIME, 40, -1, (short) -1, -1, false);
        appended.append(TIME, bytes("k"), bytes("v"), NONE);
        appended.append(TIME + 1, bytes("k"), bytes("w"), NONE);
        keep("log_append_time", appended.build());

        MemoryRecordsBuilder cleaned =
            builder(CompressionType.NONE, TimestampType.CREATE_TIME, 100, 9, (short) 0, 50, false);
        for (int offset : new int[] {101, 104, 109}) {
            cleaned.appendWithOffset(offset, TIME + offset, bytes("key"), bytes("value " + offset), NONE);
        }
        cleaned.overrideLastOffset(112);
        keep("compacted", cleaned.build());

        ByteBuffer emptied = ByteBuffer.allocate(DefaultRecordBatch.RECORD_BATCH_OVERHEAD);
        DefaultRecordBatch.writeEmptyHeader(emptied, MAGIC, 9, (short) 0, 50, 100, 112, 6, TimestampType.CREATE_TIME, TIME,
            false, false);
        emptied.flip();
        keep("emptied", MemoryRecords.readableRecords(emptied));

        keep("commit", MemoryRecords.withEndTransactionMarker(70, TIME, 5, 11, (short) 2,
            new EndTransactionMarker(ControlRecordType.COMMIT, 8)));
        keep("abort", MemoryRecords.withEndTransactionMarker(71, TIME, 5, 11, (short) 2,
            new EndTransactionMarker(ControlRecordType.ABORT, 9)));
    }

    private void keep(String name, MemoryRecords records) {
        MutableRecordBatch batch = records.batches().iterator().next();
        batch.ensureValid();
        ObjectNode node = JsonNodeFactory.instance.objectNode();
        node.put("baseOffset", batch.baseOffset()).put("lastOffset", batch.lastOffset())
            .put("partitionLeaderEpoch", batch.partitionLeaderEpoch()).put("crc", batch.checksum())
            .put("codec", batch.compressionType().name).put("timestampType", batch.timestampType().name)
            .put("maxTimestamp", batch.maxTimestamp()).put("producerId", batch.producerId())
            .put("producerEpoch", batch.producerEpoch()).put("baseSequence", batch.baseSequence())
            .put("isTransactional", batch.isTransactional()).put("isControl", batch.isControlBatch());
        ArrayNode all = node.putArray("records");
        for (Record record : batch) {
            ObjectNode one = all.addObject();
            one.put("offset", record.offset()).put("timestamp", record.timestamp());
            one.put("key", hex(record.hasKey() ? record.key() : null));
            one.put("value", hex(record.hasValue() ? record.value() : null));
            ArrayNode headers = one.putArray("headers");
            for (Header header : record.headers()) {
                byte[] value = header.value();
                headers.addArray().add(hex(ByteBuffer.wrap(bytes(header.key()))))
                    .add(hex(value == null ? null : ByteBuffer.wrap(value)));
            }
        }
        text.append("# ").append(node).append('\n').append(name).append(' ').append(hex(records.buffer())).append('\n');
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String hex(ByteBuffer buffer) {
        if (buffer == null) {
            return null;
        }
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes.length == BLOCKS_BYTES ? "150000 times 61" : HexFormat.of().formatHex(bytes);
    }
}
