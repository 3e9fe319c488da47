import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.BinaryNode;
import com.fasterxml.jackson.databind.node.BooleanNode;
import com.fasterxml.jackson.databind.node.IntNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.LongNode;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.TreeMap;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.types.ArrayOf;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.CompactArrayOf;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;

/**
 * Writes one file for each API: its requests and responses in every version, as Kafka's own generated classes encode them,
 * each below the JSON from which Kafka's own converter made it.
 *
 * Values come from Kafka's schema of the version: no two fields of a message are equal, so that a field that is read for
 * another is seen.
 */
public class Messages {
    /** API key, first and last version: what the bridge asks, and what the embedded cluster serves. */
    private static final int[][] APIS = {
        {0, 3, 12}, {1, 4, 16}, {2, 1, 8}, {3, 0, 12}, {8, 2, 8}, {9, 1, 8}, {10, 0, 4}, {11, 0, 9}, {12, 0, 4},
        {13, 0, 5}, {14, 0, 5}, {15, 0, 5}, {16, 0, 5}, {18, 0, 4}, {19, 2, 7}, {20, 1, 6}, {21, 0, 2}, {22, 0, 5},
        {23, 2, 4}, {24, 0, 3}, {25, 0, 4}, {26, 0, 5}, {28, 0, 5}, {32, 1, 4}, {37, 0, 3}, {42, 0, 2}, {44, 0, 1},
        {61, 0, 0}, {65, 0, 0}, {66, 0, 1}, {69, 0, 1},
    };
    private static final int CORRELATION_ID = 0x01020304;
    /** No field of Kafka's has this tag: readers keep what they do not know. */
    private static final RawTaggedField UNKNOWN = new RawTaggedField(99, new byte[] {7, 8, 9});

    private int next;

    /** The folder to write to. */
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        Files.createDirectories(folder);
        for (int[] api : APIS) {
            ApiMessageType type = ApiMessageType.fromApiKey((short) api[0]);
            StringBuilder text = new StringBuilder();
            for (short version = (short) api[1]; version <= api[2]; version++) {
                for (boolean isRequest : new boolean[] {true, false}) {
                    for (boolean isFull : new boolean[] {true, false}) {
                        record(type, version, isRequest, isFull, text);
                    }
                }
            }
            Files.writeString(folder.resolve(type.name().toLowerCase() + ".txt"), text);
        }
    }

    private static void record(ApiMessageType type, short version, boolean isRequest, boolean isFull,
                               StringBuilder text) throws Exception {
        Schema[] schemas = isRequest ? type.requestSchemas() : type.responseSchemas();
        String title = (isRequest ? "request " : "response ") + version + (isFull ? " full" : " empty");
        String name = "org.apache.kafka.common.message." + (isRequest ? type.newRequest() : type.newResponse())
            .getClass().getSimpleName();
        Class<?> converter = Class.forName(name + "JsonConverter");
        JsonNode values = new Messages().structure(schemas[version], isFull);
        ApiMessage message =
            (ApiMessage) converter.getMethod("read", JsonNode.class, short.class).invoke(null, values, version);
        short headerVersion = isRequest ? type.requestHeaderVersion(version) : type.responseHeaderVersion(version);
        boolean isFlexible = type.requestHeaderVersion(version) >= 2;
        if (isFull && isFlexible) {
            message.unknownTaggedFields().add(UNKNOWN);
        }
        ApiMessage header = isRequest
            ? new RequestHeaderData().setRequestApiKey(type.apiKey()).setRequestApiVersion(version)
                .setCorrelationId(CORRELATION_ID).setClientId(isFull ? "client" : null)
            : new ResponseHeaderData().setCorrelationId(CORRELATION_ID);
        text.append("# ").append(values).append('\n').append(title).append(' ')
            .append(hex(header, headerVersion)).append(hex(message, version)).append('\n');
    }

    private static String hex(ApiMessage message, short version) {
        ByteBuffer bytes = MessageUtil.toByteBufferAccessor(message, version).buffer();
        byte[] array = new byte[bytes.remaining()];
        bytes.get(array);
        return HexFormat.of().formatHex(array);
    }

    private ObjectNode structure(Schema schema, boolean isFull) {
        ObjectNode node = JsonNodeFactory.instance.objectNode();
        for (BoundField field : schema.fields()) {
            if (field.def.type instanceof TaggedFields tagged) {
                if (isFull) {
                    new TreeMap<>(tagged.fields()).values().forEach(it -> put(node, it, true));
                }
            } else {
                put(node, field.def, isFull);
            }
        }
        return node;
    }

    private void put(ObjectNode node, Field field, boolean isFull) {
        String[] words = field.name.split("_");
        StringBuilder name = new StringBuilder(words[0]);
        for (int index = 1; index < words.length; index++) {
            name.append(words[index].substring(0, 1).toUpperCase()).append(words[index].substring(1));
        }
        node.set(name.toString(), value(field.name, field.type, isFull));
    }

    private JsonNode value(String name, Type type, boolean isFull) {
        if (type.isNullable() && !isFull) {
            return NullNode.instance;
        }
        if (type instanceof Schema schema) {
            return structure(schema, isFull);
        }
        if (type instanceof ArrayOf || type instanceof CompactArrayOf) {
            ArrayNode array = JsonNodeFactory.instance.arrayNode();
            for (int index = 0; isFull && index < 2; index++) {
                array.add(value(name, type.arrayElementType().get(), true));
            }
            return array;
        }
        int number = isFull ? ++next : 0;
        String kind = type.toString();
        if (kind.contains("RECORDS") || kind.contains("BYTES")) {
            return BinaryNode.valueOf(isFull ? new byte[] {(byte) number, 0, (byte) 0xff} : new byte[0]);
        }
        if (kind.contains("STRING")) {
            return TextNode.valueOf(isFull ? name + "-\u00e9-" + number : "");
        }
        switch (kind) {
            case "BOOLEAN":
                return BooleanNode.valueOf(isFull);
            case "INT8":
                return IntNode.valueOf(number % 128);
            case "INT16":
                return IntNode.valueOf(number * 100 % 32768);
            case "UINT16":
            case "INT32":
                return IntNode.valueOf(number * (kind.equals("INT32") ? 100_003 : 1));
            case "INT64":
                return LongNode.valueOf(number * -10_000_000_019L);
            case "UUID":
                return TextNode.valueOf(new Uuid(number, -number).toString());
            default:
                throw new IllegalArgumentException(name + " is a " + kind);
        }
    }
}
