"""Writes the datums of avro/golden and avro/hostile: python avro_datums.py <folder avro>.

Golden ones are written by fastavro, another implementation than kafka-bridge's and than the library that it parses schemas
with. Each has a line with the JSON that it stands for, then its bytes as hex. Hostile ones are put together from the same
bytes, field by field: a line says what is wrong, the next the fault, its byte, the bytes ("-" for none), and the path ("-" for
the datum itself).
"""

import datetime
import decimal
import io
import json
import pathlib
import struct
import sys
import uuid

import fastavro

FOLDER = pathlib.Path(sys.argv[1])
UTC = datetime.timezone.utc


def schema(name, known=None):
    return fastavro.parse_schema(json.loads((FOLDER / f"{name}.avsc").read_text()), named_schemas=known)


def timestamp(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def duration(months, days, millis):
    return struct.pack("<III", months, days, millis)


ORDER = schema("order")
PAYMENT = schema("payment")
KNOWN = {}
schema("address", KNOWN)
SHIPMENT = schema("shipment", KNOWN)

IDS = [f"{number:08x}-1111-4222-8333-00000000000{number}" for number in range(10)]


def item(sku, quantity, price, weight):
    return (
        {"sku": sku, "quantity": quantity, "price": decimal.Decimal(price), "weight_kg": weight},
        {"sku": sku, "quantity": quantity, "price": price, "weight_kg": weight},
    )


def order(number, state, placed_at, deliver_on, total, items, tags, source, is_gift, note):
    """What fastavro writes, and the JSON."""
    written_source, shown_source = source
    written = {
        "id": uuid.UUID(IDS[number]),
        "customer_id": number * 10**12 - 5,
        "state": state,
        "placed_at": timestamp(placed_at),
        "deliver_on": deliver_on and datetime.date.fromisoformat(deliver_on),
        "currency": "EUR",
        "total": decimal.Decimal(total),
        "items": [it[0] for it in items],
        "tags": tags,
        "source": written_source,
        "is_gift": is_gift,
        "note": note,
    }
    shown = {
        **written,
        "id": IDS[number],
        "placed_at": placed_at,
        "deliver_on": deliver_on,
        "total": total,
        "items": [it[1] for it in items],
        "source": shown_source,
    }
    return written, shown


WEB = (
    ("com.example.shop.WebSource", {"session": uuid.UUID(IDS[7]).bytes}),
    {"com.example.shop.WebSource": {"session": IDS[7]}},
)
STORE = (
    ("com.example.shop.StoreSource", {"store": 12, "till": -1}),
    {"com.example.shop.StoreSource": {"store": 12, "till": -1}},
)
ORDERS = [
    order(1, "PLACED", "2024-05-01T12:34:56.789Z", "2024-05-03", "59.97", [item("AB-1", 3, "19.99", 0.75)],
          {"campaign": "spring"}, WEB, False, None),
    order(2, "UNKNOWN", "1969-12-31T23:59:59.999Z", None, "0.00", [], {}, (None, None), False, ""),
    order(3, "CANCELLED", "9999-12-31T23:59:59.999Z", "0001-01-01", "-9999999999.99",
          [item("", -2**31, "-0.01", 1e-300), item("ü", 2**31 - 1, "1.28", None)], {"": "ключ 鍵 🔑", "k" * 70: "v" * 200},
          STORE, True, "a line\nand another\u0000"),
]


def payment(number, kind, amount, method, at, risk, refunds=None):
    written_method, shown_method = method
    written = {
        "id": uuid.UUID(IDS[number]),
        "order_id": uuid.UUID(IDS[1]),
        "kind": kind,
        "amount": decimal.Decimal(amount),
        "currency": "EUR",
        "method": written_method,
        "at": timestamp(at),
        "risk": risk,
        "refunds": refunds and refunds[0],
    }
    shown = {**written, "id": IDS[number], "order_id": IDS[1], "amount": amount, "method": shown_method, "at": at,
             "refunds": refunds and refunds[1]}
    return written, shown


def branch(name, written, shown):
    return (f"com.example.shop.{name}", written), {f"com.example.shop.{name}": shown}


CARD = branch("Card", {"network": "visa", "last_digits": "4242", "expires": datetime.date(2027, 1, 31)},
              {"network": "visa", "last_digits": "4242", "expires": "2027-01-31"})
TRANSFER = branch("Transfer", {"reference": "RF18"}, {"reference": "RF18"})
VOUCHER = branch("Voucher", {"code": bytes([0, 127, 128, 255])}, {"code": "\u0000\u007f\u0080\u00ff"})
TAKEN = payment(2, "CAPTURED", "59.9700", CARD, "2024-05-01T12:34:56.789012Z", 0.25)
PAYMENTS = [
    TAKEN,
    payment(3, "REFUNDED", "-0.0001", TRANSFER, "2024-05-02T00:00:00.000000Z", None, TAKEN),
    payment(4, "AUTHORISED", "99999999999999.9999", VOUCHER, "1970-01-01T00:00:00.000001Z", 1.0),
]


def address(code):
    return {"name": "Erika Mustermann", "street": "Heidestraße 17", "city": "Köln", "postal_code": code, "country": b"DE"}


def shipment(number, orders, until, transit, stops, scans, carrier):
    written_until = until and datetime.time.fromisoformat(until)
    written = {
        "id": uuid.UUID(IDS[number]),
        "order_ids": [uuid.UUID(IDS[it]) for it in orders],
        "from": address(None),
        "to": address("51147"),
        "shipped_at": timestamp("2024-05-02T08:00:00.000Z"),
        "pick_up_until": written_until,
        "transit": duration(*transit),
        "stops": [{**it, "at": datetime.datetime.fromisoformat(it["at"])} for it in stops],
        "scans": scans,
        "carrier": (("string" if isinstance(carrier, str) else "int"), carrier),
    }
    shown = {
        **written,
        "id": IDS[number],
        "order_ids": [IDS[it] for it in orders],
        "from": {**address(None), "country": "DE"},
        "to": {**address("51147"), "country": "DE"},
        "shipped_at": "2024-05-02T08:00:00.000Z",
        "pick_up_until": until,
        "transit": dict(zip(("months", "days", "millis"), transit)),
        "stops": stops,
        "carrier": {written["carrier"][0]: carrier},
    }
    return written, shown


SHIPMENTS = [
    shipment(5, [1, 2], "23:59:59.999", (0, 2, 1), [], {}, "DHL"),
    shipment(6, [], None, (2**32 - 1, 0, 0),
             [{"place": "Köln", "at": "2024-05-02T10:00:00.500", "position": [50.9375, 6.9603]},
              {"place": "", "at": "1969-12-31T23:59:59.999", "position": None}],
             {"HUB-1": [1, -1, 2**63 - 1, -2**63], "HUB-2": []}, 7),
]


def encode(of, value):
    output = io.BytesIO()
    fastavro.schemaless_writer(output, of, value)
    return output.getvalue()


def golden(name, of, cases):
    lines = []
    for written, shown in cases:
        lines += ["# " + json.dumps(shown, ensure_ascii=False), encode(of, written).hex()]
    (FOLDER / "golden" / f"{name}.txt").write_text("\n".join(lines) + "\n")


def long(value):
    value = value << 1 if value >= 0 else (-value << 1) - 1
    output = bytearray()
    while value > 0x7F:
        output.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(output + bytes([value]))


def sized(value):
    return long(len(value)) + value


def text(value):
    return sized(value.encode())


class Fields:
    """The bytes of a record, field by field, to be replaced."""

    def __init__(self, **fields):
        self.fields = fields

    def whole(self, **replaced):
        return b"".join({**self.fields, **replaced}.values())

    def at(self, name):
        names = list(self.fields)
        return len(b"".join(self.fields[it] for it in names[: names.index(name)]))


A_ITEM = Fields(sku=text("AB-1"), quantity=long(3), price=sized(b"\x07\xcf"), weight_kg=long(0))
AN_ORDER = Fields(
    id=text(IDS[1]), customer_id=long(7), state=long(1), placed_at=long(1714566896789), deliver_on=long(0),
    currency=text("EUR"), total=sized(b"\x17\x6d"), items=long(1) + A_ITEM.whole() + long(0),
    tags=long(1) + text("a") + text("b") + long(0), source=long(0), is_gift=b"\x00", note=long(0),
)
# fastavro agrees that this is an order before anything is broken.
assert fastavro.schemaless_reader(io.BytesIO(AN_ORDER.whole()), ORDER)["items"][0]["sku"] == "AB-1"


def hostile_orders():
    at, whole = AN_ORDER.at, AN_ORDER.whole
    yield "nothing at all", "truncated", "id", 0, b""
    yield "cut within the id", "truncated", "id", 0, whole()[:20]
    yield "cut before the last field, which is nullable", "truncated", "note", at("note"), whole()[:-1]
    yield "a byte behind the datum", "trailing_bytes", "-", len(whole()), whole() + b"\x00"
    yield "two datums", "trailing_bytes", "-", len(whole()), whole() * 2
    yield "no UUID", "uuid", "id", 0, whole(id=text("x" * 36))
    yield "a UUID in braces", "uuid", "id", 0, whole(id=text("{" + IDS[1] + "}"))
    yield "a long of 11 bytes", "varint", "customer_id", at("customer_id"), whole(customer_id=b"\xff" * 10 + b"\x01")
    yield "a long of 65 bits", "varint", "customer_id", at("customer_id"), whole(customer_id=b"\xff" * 9 + b"\x02")
    yield "a symbol that is not there", "enum_index", "state", at("state"), whole(state=long(5))
    yield "a negative symbol", "enum_index", "state", at("state"), whole(state=long(-1))
    yield "a branch that is not there", "union_index", "deliver_on", at("deliver_on"), whole(deliver_on=long(2))
    yield "a string of 2^62 bytes", "truncated", "currency", at("currency"), whole(currency=long(2**62))
    yield "a string of -1 bytes", "negative_length", "currency", at("currency"), whole(currency=long(-1))
    yield "half of a character", "utf8", "currency", at("currency"), whole(currency=sized(b"EU\xc3"))
    yield "a surrogate", "utf8", "currency", at("currency"), whole(currency=sized(b"\xed\xa0\x80"))
    yield "half of a character far behind", "utf8", "currency", at("currency"), whole(currency=sized(b"E" * 99 + b"\xc3"))
    yield "a decimal of 13 digits", "decimal", "total", at("total"), whole(total=sized((10**12).to_bytes(6, "big")))
    yield "a decimal of -13 digits", "decimal", "total", at("total"), whole(total=sized((-(10**12)).to_bytes(6, "big", signed=True)))
    yield "a decimal without a byte", "decimal", "total", at("total"), whole(total=sized(b""))
    first = at("items") + 1
    yield "2^62 items", "utf8", "items[2].sku", at("items") + len(long(2**62)) + 2 * len(A_ITEM.whole()), whole(items=long(2**62) + A_ITEM.whole() * 2, tags=sized(b"\xff"))
    yield "an item that is broken", "varint", "items[1].quantity", first + len(A_ITEM.whole()) + A_ITEM.at("quantity"), whole(
        items=long(2) + A_ITEM.whole() + A_ITEM.whole(quantity=b"\xff\xff\xff\xff\x10") + long(0))
    yield "an int of 6 bytes", "varint", "items[0].quantity", first + A_ITEM.at("quantity"), whole(
        items=long(1) + A_ITEM.whole(quantity=b"\x80\x80\x80\x80\x80\x00") + long(0))
    size = len(A_ITEM.whole())
    yield "a block that is shorter than it says", "block_size", "items", at("items"), whole(items=long(-1) + long(size + 1) + A_ITEM.whole() + long(0))
    yield "a block that is longer than it says", "block_size", "items", at("items"), whole(items=long(-1) + long(size - 1) + A_ITEM.whole() + long(0))
    yield "a block of negative size", "block_size", "items", at("items") + 1, whole(items=long(-1) + long(-1) + A_ITEM.whole() + long(0))
    yield "a block of 2^63 items", "utf8", "items[1].sku", at("items") + len(long(-2**63)) + len(long(100)) + size, whole(
        items=long(-2**63) + long(100) + A_ITEM.whole() + sized(b"\xff" * 70) + bytes(30))
    yield "a key that is not UTF-8", "utf8", "tags{key 1}", at("tags") + 1 + len(text("a") + text("b")), whole(
        tags=long(2) + text("a") + text("b") + sized(b"\xff") + text("b") + long(0))
    yield "a value under a hostile key", "utf8", 'tags{"a\\"\\n"}', at("tags") + 1 + 4, whole(
        tags=long(1) + text('a"\n') + sized(b"\xff") + long(0))
    yield "a boolean of 2", "boolean", "is_gift", at("is_gift"), whole(is_gift=b"\x02")
    yield "an array without an end", "truncated", "items[1].sku", len(AN_ORDER.whole()[: at("items")]) + 1 + size, whole()[: at("items")] + long(2) + A_ITEM.whole()
    yield "JSON", "negative_length", "id", 0, b'{"id": "00000001-1111-4222-8333-000000000001", "customer_id": 7, "state": "PLACED"}'


def hostile_payments():
    one = Fields(
        id=text(IDS[2]), order_id=text(IDS[1]), kind=long(0), amount=bytes(8), currency=text("EUR"),
        method=long(1) + text("r"), at=long(0), risk=long(0), refunds=long(1),
    )
    assert fastavro.schemaless_reader(io.BytesIO(one.whole() + one.whole(refunds=long(0))), PAYMENT)["refunds"]["at"]
    whole = one.whole()
    # The record of the method is a level of its own.
    path, at = ".".join(["refunds"] * 59 + ["method"]), 59 * len(whole) + one.at("method") + 1
    yield "refunds of refunds, 60 deep", "too_deep", path, at, whole * 60 + one.whole(refunds=long(0))
    yield "refunds of refunds without an end", "too_deep", path, at, whole * 100
    yield "a decimal of 19 digits", "decimal", "amount", one.at("amount"), one.whole(amount=(10**18).to_bytes(8, "big"))


def hostile_shipments():
    known = encode(SHIPMENT, SHIPMENTS[0][0])
    until = 86399999
    place = known.index(long(1) + long(until))
    head, tail = known[: place + 1], known[place + 1 + len(long(until)):]
    yield "24:00:00.000", "time_of_day", "pick_up_until", place + 1, head + long(86400000) + tail
    yield "-00:00:00.001", "time_of_day", "pick_up_until", place + 1, head + long(-1) + tail
    yield "cut within the duration", "truncated", "transit", place + 1 + len(long(until)), head + long(until) + tail[:11]


def hostile(name, cases):
    lines = []
    for what, fault, path, at, value in cases:
        lines += [f"# {what}", f"{fault} {at} {value.hex() or '-'} {path}"]
    (FOLDER / "hostile" / f"{name}.txt").write_text("\n".join(lines) + "\n")


golden("order", ORDER, ORDERS)
golden("payment", PAYMENT, PAYMENTS)
golden("shipment", SHIPMENT, SHIPMENTS)
hostile("order", hostile_orders())
hostile("payment", hostile_payments())
hostile("shipment", hostile_shipments())
