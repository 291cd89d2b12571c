"""Programs nobody here wrote read the files Lotic writes, and write files for Lotic to read.

A case is a folder with `rows.FORMAT` and `rows.arrow`: the same rows, in the format and as an Arrow file,
which is what both sides compare with.

    check.py read FOLDER            compares every case under FOLDER
    check.py make FOLDER FORMAT...  makes cases of these formats under FOLDER

A format is an entry of READERS and one of WRITERS.
"""

import datetime
import decimal
import functools
import os
import pathlib
import shutil
import sys

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.json
import pyarrow.orc
import pyarrow.parquet


def by_duckdb(function):
    def read(path, schema):
        duckdb.sql("SET TimeZone = 'UTC'")
        return duckdb.sql(f"SELECT * FROM {function}('{path}')").to_arrow_table()

    return read


def csv_by_pyarrow(path, schema):
    convert = pa.csv.ConvertOptions(column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False)
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    return pa.csv.read_csv(path, parse_options=parse, convert_options=convert)


def json_by_pyarrow(path, schema):
    if not pathlib.Path(path).stat().st_size:  # no lines are no rows, but pyarrow wants one
        return schema.empty_table()
    # Days come as text: pyarrow's JSON reader knows no dates.
    kinds = [field.with_type(pa.string()) if pa.types.is_date(field.type) else field for field in schema]
    return pa.json.read_json(path, parse_options=pa.json.ParseOptions(explicit_schema=pa.schema(kinds)))


@functools.cache
def spark():
    import pyspark.sql

    builder = pyspark.sql.SparkSession.builder.master("local[1]").config("spark.sql.session.timeZone", "UTC")
    builder = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
    builder = builder.config("spark.sql.legacy.parquet.nanosAsLong", "true")
    builder = builder.config("spark.sql.timeType.enabled", "true")
    return builder.config("spark.log.level", "ERROR").getOrCreate()


def by_spark(format, **options):
    def read(path, schema):
        # Given: of a file, Spark guesses no schema if it has a type that Spark does not know.
        known = [field for field in schema if not unreadable("spark", format, field.type)]
        kinds = ", ".join(f"`{field.name}` {spark_type(field.type, format)}" for field in known)
        return spark().read.format(format).options(**options).schema(kinds).load(str(path)).toArrow()

    return read


def spark_type(kind, format):
    """The type that Spark reads a type as."""
    nested = [spark_type(kind.field(part).type, format) for part in range(kind.num_fields)]
    if pa.types.is_list(kind):
        return f"ARRAY<{nested[0]}>"
    if pa.types.is_map(kind):
        return f"MAP<{spark_type(kind.key_type, format)}, {spark_type(kind.item_type, format)}>"
    if pa.types.is_struct(kind):
        return "STRUCT<" + ", ".join(f"{kind.field(at).name}: {name}" for at, name in enumerate(nested)) + ">"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pa.types.is_timestamp(kind):
        if kind.unit == "ns" and format == "parquet":
            return "BIGINT"
        return "TIMESTAMP_LTZ" if kind.tz or format == "orc" else "TIMESTAMP_NTZ"
    return SPARK_TYPES[str(kind)]


# Spark knows no unsigned numbers: the next that holds them.
SPARK_TYPES = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INT",
    "int64": "BIGINT",
    "uint8": "SMALLINT",
    "uint16": "INT",
    "uint32": "BIGINT",
    "uint64": "DECIMAL(20, 0)",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "STRING",
    "large_string": "STRING",
    "string_view": "STRING",
    "binary": "BINARY",
    "date32[day]": "DATE",
    "time64[us]": "TIME(6)",
}


# Format: the programs that read it.
READERS = {
    "parquet": {
        "pyarrow": lambda path, schema: pa.parquet.read_table(path),
        "duckdb": by_duckdb("read_parquet"),
        "spark": by_spark("parquet"),
    },
    "orc": {"pyarrow": lambda path, schema: pa.orc.read_table(path), "spark": by_spark("orc")},
    "csv": {
        "pyarrow": csv_by_pyarrow,
        "spark": by_spark("csv", header=True, escape='"', multiLine=True, emptyValue="", nullValue="\0"),
    },
    "json": {"pyarrow": json_by_pyarrow, "spark": by_spark("json")},
}


# Cases that a program cannot read: Spark comes without this codec.
UNREAD = {("spark", "parquet-brotli")}


def unreadable(program, format, kind):
    """Types that a program turns into others that lose something."""
    lost = {
        "duckdb": pa.types.is_decimal256(kind)  # becomes a double
        or (pa.types.is_timestamp(kind) and kind.tz is not None and kind.unit == "ns"),  # microseconds
        "spark": pa.types.is_decimal256(kind)  # refused
        or (pa.types.is_timestamp(kind) and kind.unit == "ns" and format == "orc"),  # microseconds
    }
    return lost.get(program, False) or any(
        unreadable(program, format, kind.field(part).type) for part in range(kind.num_fields)
    )


def has_java():
    """Whether Spark can run."""
    return bool(shutil.which("java") or os.environ.get("JAVA_HOME"))


def values(column):
    """Its values for Python, where timestamps have no nanoseconds."""
    return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()


def compare(case):
    path = next(path for path in case.iterdir() if path.suffix != ".arrow")
    with pa.ipc.open_file(case / "rows.arrow") as reader:
        expected = reader.read_all()
    failures, compared = [], 0
    format = path.suffix[1:]
    for program, read in READERS[format].items():
        if (program, case.name) in UNREAD or (program == "spark" and not has_java()):
            continue
        table = read(path, expected.schema)
        lost = [field.name for field in expected.schema if unreadable(program, format, field.type)]
        names = [name for name in expected.column_names if name not in lost]
        if [name for name in table.column_names if name not in lost] != names:
            failures.append(f"{program} finds the columns {table.column_names}, not {names}")
            continue
        for name in names:
            wanted = expected[name]
            found, wanted, kind = table[name], values(wanted), wanted.type
            try:
                found = values(found.cast(kind))
            except pa.ArrowException:  # nested types that differ in names only
                found = values(found)
            compared += 1
            if found != wanted:
                pairs = zip(found, wanted)
                row, pair = next(((row, pair) for row, pair in enumerate(pairs) if pair[0] != pair[1]), (None, None))
                failures.append(f"{program}, column {name} ({kind}), row {row}: read, expected: {pair}")
    return failures, compared


def read(folder):
    failures, compared, cases = [], 0, sorted(pathlib.Path(folder).iterdir())
    for case in cases:
        found, columns = compare(case)
        failures += [f"{case.name}: {failure}" for failure in found]
        compared += columns
    if not has_java():
        missing = "nothing was compared with Spark, for want of a Java runtime"
        print(f"SKIPPED: {missing}")
        failures += [missing] if "CI" in os.environ else []
    print(f"{len(cases)} cases, {compared} columns compared, {len(failures)} differ")
    for failure in failures:
        print(failure)
    return 1 if failures or not compared else 0


UTC = datetime.timezone.utc
FLAT = {
    "truth": (pa.bool_(), [True, None, False]),
    "tiny": (pa.int8(), [-128, None, 127]),
    "small": (pa.int16(), [-(2**15), None, 2**15 - 1]),
    "medium": (pa.int32(), [-(2**31), None, 2**31 - 1]),
    "large": (pa.int64(), [-(2**63), None, 2**63 - 1]),
    "single": (pa.float32(), [1.5, None, -0.25]),
    "double": (pa.float64(), [1e300, None, -1e-300]),
    "text": (pa.string(), ["maçã", None, ""]),
    "day": (pa.date32(), [datetime.date(1, 1, 1), None, datetime.date(9999, 12, 31)]),
    "wall": (pa.timestamp("us"), [datetime.datetime(1683, 1, 1, 1, 2, 3), None, datetime.datetime(2199, 1, 1, 1, 2, 3, 4)]),
}
RICH = {
    "bytes": (pa.binary(), [b"\x00\xff", None, b""]),
    "instant": (pa.timestamp("us", "UTC"), [datetime.datetime(1969, 1, 1, tzinfo=UTC), None, datetime.datetime(2030, 1, 1, 1, 1, 1, 999, UTC)]),
    "money": (pa.decimal128(20, 4), [decimal.Decimal("-1234567890123456.7891"), None, decimal.Decimal("0.0001")]),
    "list": (pa.list_(pa.int32()), [[1, None, 3], None, []]),
    "struct": (pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))]), [{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}]),
    "map": (pa.map_(pa.string(), pa.int32()), [[("k", 1), ("l", None)], None, []]),
}
PARQUET = {
    "unsigned": (pa.uint64(), [0, None, 2**64 - 1]),
    "byte": (pa.uint8(), [0, None, 255]),
    "ages": (pa.timestamp("us"), [datetime.datetime(1583, 1, 1, 1, 2, 3, 4), None, datetime.datetime(2999, 1, 1)]),
    "nanos": (pa.timestamp("ns"), [0, None, 1_600_000_000_123_456_789]),
    "zoned": (pa.timestamp("ms", "America/Sao_Paulo"), [0, None, 1_600_000_000_123]),
    "time": (pa.time64("us"), [datetime.time(0, 0, 1), None, datetime.time(23, 59, 59, 999999)]),
    "long_text": (pa.large_string(), ["a", None, "b"]),
    "coded": (pa.dictionary(pa.int32(), pa.string()), ["a", None, "a"]),
    "fixed": (pa.binary(3), [b"abc", None, b"xyz"]),
}
PLAIN = {name: FLAT[name] for name in ("truth", "large", "double", "text", "day")}


def table(columns, times=1):
    return pa.table({name: pa.array(values * times, kind) for name, (kind, values) in columns.items()})


def parquet_cases():
    columns = FLAT | RICH | PARQUET
    cases = {name: {"compression": name} for name in ("snappy", "gzip", "zstd", "lz4", "brotli", "none")}
    cases["pages-2"] = {"data_page_version": "2.0"}
    cases["plain"] = {"use_dictionary": False}
    cases["groups"] = {"row_group_size": 7, "store_schema": False}
    cases["delta"] = {"use_dictionary": False, "column_encoding": {"large": "DELTA_BINARY_PACKED"}}
    for name, given in cases.items():
        yield name, table(columns, 40), lambda rows, path, given=given: pa.parquet.write_table(rows, path, **given)
    yield "empty", table(columns, 0), pa.parquet.write_table


def orc_cases():
    columns = FLAT | RICH
    for name in ("uncompressed", "zlib", "snappy", "lz4", "zstd"):
        yield name, table(columns, 40), lambda rows, path, name=name: pa.orc.write_table(rows, path, compression=name)
    small = {"stripe_size": 1024, "batch_size": 64, "dictionary_key_size_threshold": 1.0}
    yield "stripes", table(columns, 4000), lambda rows, path: pa.orc.write_table(rows, path, **small)
    yield "empty", table(columns, 0), pa.orc.write_table


def csv_cases():
    yield "csv", table(PLAIN, 40), lambda rows, path: pa.csv.write_csv(rows, path)


def json_cases():
    def write(rows, path):
        import json

        lines = (json.dumps(row, default=str, ensure_ascii=False) for row in rows.to_pylist())
        pathlib.Path(path).write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    yield "json", table(PLAIN, 40), write


# Format: name of the case, its rows, how pyarrow writes them.
WRITERS = {"parquet": parquet_cases, "orc": orc_cases, "csv": csv_cases, "json": json_cases}


def make(folder, formats):
    for extension in formats:
        for name, rows, write in WRITERS[extension]():
            case = pathlib.Path(folder) / f"{extension}-{name}"
            case.mkdir(parents=True)
            write(rows, str(case / f"rows.{extension}"))
            with pa.ipc.new_file(case / "rows.arrow", rows.schema) as writer:
                writer.write_table(rows.combine_chunks())
    return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["read", folder]:
            sys.exit(read(folder))
        case ["make", folder, *formats]:
            sys.exit(make(folder, formats))
    sys.exit(__doc__)
