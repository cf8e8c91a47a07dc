"""Writes the small parquet files of test/fixtures/data by pyarrow, the reference: codecs, decimals, dates, big integers.

python3 -m pip install pyarrow==25.0.0   (any recent one will do)
python3 test/oracles/parquet.py
"""
import datetime
import decimal
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

out = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "data"
out.mkdir(parents=True, exist_ok=True)

# long enough that every codec makes copies of earlier bytes
texts = [f"row {i}: " + "the same words again and again " * (i % 7) + "é漢😀"[: i % 4] for i in range(60)]
plain = pa.table({"text": texts, "label": pa.array([i % 3 for i in range(60)], pa.int64())})
for codec in ["zstd", "lz4"]:
    pq.write_table(plain, out / f"{codec}.parquet", compression=codec)
pq.write_table(plain.slice(0, 0), out / "no-rows.parquet")
with pq.ParquetWriter(out / "empty-group.parquet", plain.schema) as writer:
    for part in [plain.slice(0, 2), plain.slice(0, 0), plain.slice(2, 1)]:
        writer.write_table(part)

utc = datetime.timezone.utc
exact = pa.table(
    {
        "decimal38": pa.array(
            [decimal.Decimal("12345678901234567890123456789012345.678"), decimal.Decimal("12345678901234567890123456789012345.679"), None, decimal.Decimal("-0.001")],
            pa.decimal128(38, 3),
        ),
        "decimal10": pa.array([decimal.Decimal("0.30"), decimal.Decimal("-3.00"), decimal.Decimal("1.10"), None], pa.decimal128(10, 2)),
        "int64": pa.array([9007199254740993, 9007199254740992, -9223372036854775808, 1], pa.int64()),
        "uint64": pa.array([18446744073709551615, 18446744073709551614, 0, 1], pa.uint64()),
        "date": pa.array([datetime.date(2024, 1, 2), datetime.date(1969, 12, 31), None, datetime.date(1, 1, 1)], pa.date32()),
        "micros": pa.array(
            [datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, utc), datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, utc), None, datetime.datetime(2024, 1, 2, tzinfo=utc)],
            pa.timestamp("us", tz="UTC"),
        ),
        "list": pa.array([[9007199254740993, 1], [], None, [2]], pa.list_(pa.int64())),
        "bytes": pa.array([b"abc", "é".encode(), None, b""], pa.binary()),
    }
)
pq.write_table(exact, out / "exact.parquet", compression="none", use_dictionary=["date"])
