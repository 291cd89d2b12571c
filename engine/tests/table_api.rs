//! The table door: readers, frames, writers, SQL statements, the bridge to typed streams.
#![allow(clippy::unwrap_used, reason = "tests")]

use lotic::connectors::table::memory::{MemoryTable, MemoryTables};
use lotic::functions::{col, explode, lit, split, sum};
use lotic::table::arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use lotic::table::arrow::datatypes::{DataType, Int64Type, Schema};
use lotic::table::{JoinType, RunOptions, StatementResult, parse_ddl, tree};
use lotic::{DataFrame, Error, ErrorKind, Location, OutputMode, SaveMode, Session, Trigger};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Bench {
    session: Session,
    tables: MemoryTables,
}

fn bench() -> Bench {
    let session = Session::builder().app_name("tables").get_or_create().unwrap();
    let tables = session.memory_tables().unwrap();
    Bench { session, tables }
}

impl Bench {
    /// A table in memory with these rows of `nome STRING, idade BIGINT`.
    fn people(&self, name: &str, people: &[(&str, i64)]) -> MemoryTable {
        let table = self.tables.create(name, parse_ddl("nome STRING, idade BIGINT").unwrap(), 1).unwrap();
        table.add(people_rows(people)).unwrap();
        table
    }

    fn read(&self, name: &str) -> DataFrame {
        self.session.read().format("memory").option("name", name).load().unwrap()
    }

    fn read_stream(&self, name: &str) -> DataFrame {
        self.session.read_stream().format("Memory").option("NAME", name).load().unwrap()
    }

    fn rows(&self, name: &str) -> Vec<(String, i64)> {
        pairs(&self.tables.get(name).unwrap().batches())
    }
}

fn people_rows(people: &[(&str, i64)]) -> RecordBatch {
    let names = StringArray::from_iter_values(people.iter().map(|(name, _)| *name));
    let ages = Int64Array::from_iter_values(people.iter().map(|(_, age)| *age));
    let schema = parse_ddl("nome STRING, idade BIGINT").unwrap();
    RecordBatch::try_new(schema, vec![Arc::new(names), Arc::new(ages)]).unwrap()
}

/// The rows of a table of text and a number, sorted.
fn pairs(batches: &[RecordBatch]) -> Vec<(String, i64)> {
    let mut pairs = Vec::new();
    for batch in batches {
        let (names, numbers) =
            (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
        pairs.extend((0..batch.num_rows()).map(|row| (names.value(row).to_owned(), numbers.value(row))));
    }
    pairs.sort();
    pairs
}

fn collected(frame: &DataFrame) -> Vec<(String, i64)> {
    pairs(&frame.collect().unwrap())
}

fn owned(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

fn user(error: Error, part: &str) {
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    assert!(error.to_string().contains(part), "`{error}` does not say `{part}`");
}

#[test]
fn the_schema_of_the_notes_is_printed_as_spark_does() {
    let schema = parse_ddl("nome STRING, idade INT").unwrap();
    let expected = "root\n |-- nome: string (nullable = true)\n |-- idade: integer (nullable = true)\n";
    assert_eq!(tree(&schema), expected);
}

#[test]
fn steps_name_columns_in_any_case_and_compute_what_sql_computes() {
    let bench = bench();
    bench.people("p", &[("ana", 30), ("bia", 17), ("caio", 45), ("ana", 31)]);
    let people = bench.read("p");
    assert!(!people.is_streaming());
    let adults = people.filter("idade >= 18").unwrap().where_(col("idade").lt(lit(100))).unwrap();
    let by_name = adults.group_by(["NOME"]).unwrap().sum(&["idade"]).unwrap();
    assert_eq!(by_name.schema().field(1).name(), "sum(idade)");
    assert_eq!(collected(&by_name), owned(&[("ana", 61), ("caio", 45)]));
    let same = adults.group_by(["nome"]).unwrap().agg([sum(col("idade")).alias("s")]).unwrap();
    assert_eq!(collected(&same), collected(&by_name));
    assert_eq!(people.select(["nome"]).unwrap().distinct().unwrap().count().unwrap(), 3);
    assert_eq!(people.count().unwrap(), 4);
    assert_eq!(collected(&people.group_by(["nome"]).unwrap().count().unwrap())[0], ("ana".to_owned(), 2));
    let changed = people
        .with_column("dobro", "idade * 2")
        .unwrap()
        .with_column_renamed("nome", "Nome")
        .unwrap()
        .drop(&["idade"])
        .unwrap()
        .order_by(["dobro"])
        .unwrap()
        .limit(1)
        .unwrap();
    assert_eq!(
        changed.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(),
        ["Nome", "dobro"]
    );
    assert_eq!(collected(&changed), owned(&[("bia", 34)]));
    assert_eq!(people.union(&people).unwrap().count().unwrap(), 8);
    let turned = people.select_expr(&["idade", "nome"]).unwrap();
    assert_eq!(people.union_by_name(&turned).unwrap().count().unwrap(), 8);
    user(people.select(["idad"]).unwrap_err(), "there is no column `idad`: did you mean `idade`?");
    user(people.drop(&["nome", "idade"]).unwrap_err(), "at least one column");
}

#[test]
fn a_join_on_names_has_them_once() {
    let bench = bench();
    bench.people("l", &[("ana", 1), ("bia", 2)]);
    bench.people("r", &[("ana", 10), ("caio", 30)]);
    let (left, right) = (bench.read("l"), bench.read("r"));
    let right = right.with_column_renamed("idade", "valor").unwrap();
    let names = |frame: &DataFrame| {
        frame.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    let inner = left.join(&right, &["nome"], JoinType::Inner).unwrap();
    assert_eq!(names(&inner), ["nome", "idade", "valor"]);
    assert_eq!(collected(&inner), owned(&[("ana", 1)]));
    let full =
        left.join(&right, &["nome"], JoinType::Full).unwrap().select_expr(&["nome", "coalesce(valor, 0)"]);
    assert_eq!(collected(&full.unwrap()), owned(&[("ana", 10), ("bia", 0), ("caio", 30)]));
    let anti = left.join(&right, &["nome"], JoinType::LeftAnti).unwrap();
    assert_eq!(collected(&anti), owned(&[("bia", 2)]));
    // A table with itself.
    assert_eq!(left.join(&left, &["nome"], JoinType::Inner).unwrap().count().unwrap(), 2);
}

#[test]
fn show_is_sparks_table_and_knows_that_there_is_more() {
    let bench = bench();
    bench.people("p", &[("ana", 30), ("bia", 17)]);
    let text = bench.read("p").show_string(1, Some(20)).unwrap();
    assert_eq!(
        text,
        "+----+-----+\n|nome|idade|\n+----+-----+\n| ana|   30|\n+----+-----+\nonly showing top 1 row\n"
    );
}

#[test]
fn readers_name_what_is_wrong() {
    let bench = bench();
    let session = &bench.session;
    user(session.read().load().unwrap_err(), "no format was given");
    user(session.read().format("memry").load().unwrap_err(), "did you mean `memory`?");
    let error = session.read().format("memory").option("nam", "p").load().unwrap_err();
    user(error, "did you mean `name`?");
    let error = session.read().format("memory").schema("nome STRIN").option("name", "p").load().unwrap_err();
    assert_eq!(error.location(), Some(Location { line: 1, column: 6 }));
    user(error, "did you mean `STRING`?");
    user(session.table("nothing").unwrap_err(), "there is no table `nothing`");
}

#[test]
fn a_stream_is_not_collected_and_a_bounded_table_not_started() {
    let bench = bench();
    bench.people("p", &[("ana", 30)]);
    let stream = bench.read_stream("p");
    assert!(stream.is_streaming() && stream.filter("idade > 1").unwrap().is_streaming());
    user(stream.collect().unwrap_err(), "write_stream().start()");
    user(stream.show().unwrap_err(), "write_stream().start()");
    user(stream.count().unwrap_err(), "write_stream().start()");
    user(stream.write().format("memory").save_default().unwrap_err(), "write_stream().start()");
    user(bench.read("p").write_stream().format("memory").start().unwrap_err(), "`write()`");
    user(stream.write_stream().start().unwrap_err(), "no sink was given");
    user(stream.write_stream().format("memory").option("nam", 1).start().unwrap_err(), "`name`");
    user(
        stream.write_stream().format("memory").output_mode("al").start().unwrap_err(),
        "append, update or complete",
    );
}

#[test]
fn a_batch_write_is_one_epoch_and_respects_what_is_there() {
    let bench = bench();
    let many: Vec<(String, i64)> = (0..20_000).map(|n| (format!("p{n}"), n)).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    bench.people("p", &many);
    let write = |mode: SaveMode| {
        bench.read("p").write().format("memory").option("name", "out").mode(mode).save_default()
    };
    write(SaveMode::ErrorIfExists).unwrap();
    assert_eq!(bench.rows("out").len(), 20_000);
    write(SaveMode::Append).unwrap();
    assert_eq!(bench.rows("out").len(), 40_000);
}

#[test]
fn a_write_that_fails_shows_nothing_and_says_why() {
    let bench = bench();
    let table = bench.people("p", &[("12", 1)]);
    for _ in 0..20 {
        table.add(people_rows(&[("12", 1); 4000])).unwrap();
    }
    table.add(people_rows(&[("x", 2)])).unwrap();
    let wrong = bench.read("p").select_expr(&["CAST(nome AS BIGINT) AS n"]).unwrap();
    let error = wrong.write().format("memory").option("name", "out").save_default().unwrap_err();
    user(error, "x");
    assert_eq!(bench.tables.get("out").map_or(0, |table| table.row_count()), 0);
    user(wrong.collect().unwrap_err(), "x");
}

#[test]
fn a_stream_is_written_in_both_modes_with_the_same_rows() {
    let bench = bench();
    let table = bench.people("p", &[("ana", 30), ("bia", 17), ("caio", 45)]);
    table.finish();
    let adults = bench.read_stream("p").filter("idade >= 18").unwrap();
    let triggers = [Trigger::continuous("10 ms"), Trigger::processing_time("1 ms"), Trigger::AvailableNow];
    for (number, trigger) in triggers.into_iter().enumerate() {
        let name = format!("out{number}");
        let writer = adults.write_stream().format("memory").option("name", &name).trigger(trigger);
        writer.query_name("adults").start().unwrap().await_termination().unwrap();
        assert_eq!(
            bench.rows(&name),
            collected(&bench.read("p").filter("idade >= 18").unwrap()),
            "{trigger}"
        );
    }
}

#[test]
fn foreach_takes_values_of_the_users_type() {
    #[derive(serde::Deserialize)]
    struct Person {
        nome: String,
        idade: i64,
    }
    let bench = bench();
    bench.people("p", &[("ana", 30), ("bia", 17)]).finish();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let put = Arc::clone(&seen);
    let writer = bench.read_stream("p").write_stream().foreach(move |person: Person| {
        put.lock().unwrap().push((person.nome, person.idade));
    });
    writer.start().unwrap().await_termination().unwrap();
    assert_eq!(*seen.lock().unwrap(), owned(&[("ana", 30), ("bia", 17)]));
}

#[test]
fn foreach_batch_gets_bounded_tables_and_refuses_continuous_mode() {
    let bench = bench();
    let table = bench.people("p", &[("ana", 30), ("bia", 17)]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let put = Arc::clone(&seen);
    let writer = bench.read_stream("p").write_stream().foreach_batch(move |batch: DataFrame, id| {
        let adults = batch.filter("idade >= 18")?.count()?;
        put.lock().unwrap().push((id, adults));
        Ok::<(), Error>(())
    });
    let refused = writer.clone().trigger(Trigger::continuous("1 second")).start().unwrap_err();
    user(refused, "`foreach_batch` takes whole batches");
    let query = writer.start().unwrap();
    query.process_all_available().unwrap();
    user(query.set_trigger(Trigger::continuous("1 second")).unwrap_err(), "continuous");
    query.set_trigger(Trigger::processing_time("1 ms")).unwrap();
    table.add(people_rows(&[("caio", 45)])).unwrap();
    query.process_all_available().unwrap();
    query.stop().unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(|(_, adults)| *adults).collect::<Vec<_>>(), [1, 1]);
    assert!(seen[0].0 < seen[1].0, "{seen:?}");
}

#[test]
fn a_failing_foreach_batch_ends_the_query_with_its_words() {
    let bench = bench();
    bench.people("p", &[("ana", 30)]);
    let writer = bench.read_stream("p").write_stream().foreach_batch(|_, _| Err::<(), _>("mailbox full"));
    let error = writer.start().unwrap().await_termination().unwrap_err();
    user(error, "mailbox full");
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Order {
    user: String,
    cents: i64,
    note: Option<String>,
}

fn orders() -> Vec<Order> {
    let order = |user: &str, cents, note: Option<&str>| Order {
        user: user.to_owned(),
        cents,
        note: note.map(str::to_owned),
    };
    vec![order("a", 5, None), order("b", 7, Some("ü")), order("a", 9, None)]
}

#[test]
fn a_typed_stream_becomes_a_table_and_a_stream_again() {
    let bench = bench();
    let table = bench.session.table_from_stream(bench.session.rows(orders())).unwrap();
    assert!(table.is_streaming());
    assert_eq!(table.schema().field(0).data_type(), &DataType::Utf8);
    let (query, rows) = table.filter("cents > 5").unwrap().to_stream::<Order>().unwrap().egress("orders");
    let query = query.start(Trigger::continuous("10 ms")).unwrap();
    query.await_termination().unwrap();
    let got: Vec<Order> = std::iter::from_fn(|| rows.recv()).collect();
    assert_eq!(got, orders()[1..]);
    // The stream was used up.
    let again = table.write_stream().format("memory").option("name", "again").start();
    user(again.unwrap_err(), "started before");
}

#[test]
fn a_typed_stream_is_aggregated_in_sql_under_a_view() {
    let bench = bench();
    let schema = "user STRING, cents BIGINT, note STRING";
    let stream = bench.session.rows(orders());
    let table = bench.session.table_from_stream_with_schema(stream, schema).unwrap();
    table.create_or_replace_temp_view("orders").unwrap();
    let sums =
        bench.session.sql("SELECT \"user\", sum(cents) AS total FROM orders GROUP BY \"user\"").unwrap();
    let append = sums.write_stream().format("memory").option("name", "out").start();
    user(append.unwrap_err(), "append");
    let writer = sums.write_stream().format("memory").option("name", "out").output_mode(OutputMode::Complete);
    writer.trigger(Trigger::AvailableNow).start().unwrap().await_termination().unwrap();
    assert_eq!(bench.rows("out"), owned(&[("a", 14), ("b", 7)]));
}

#[test]
fn a_bounded_table_becomes_a_typed_stream() {
    #[derive(serde::Deserialize)]
    struct Person {
        nome: String,
    }
    let bench = bench();
    bench.people("p", &[("ana", 30), ("bia", 17)]);
    let stream = bench.read("p").to_stream::<Person>().unwrap().map(|person| person.nome);
    let (query, names) = stream.egress("names");
    query.start(Trigger::continuous("10 ms")).unwrap().await_termination().unwrap();
    assert_eq!(std::iter::from_fn(|| names.recv()).collect::<Vec<_>>(), ["ana", "bia"]);
}

#[test]
fn explain_shows_both_plans_and_leaves_nothing_behind() {
    let bench = bench();
    bench.people("p", &[("ana", 30)]);
    let text = bench.read("p").explain().unwrap();
    assert!(text.contains("Physical plan (bounded)"), "{text}");
    let stream = bench.read_stream("p").group_by(["nome"]).unwrap().count().unwrap();
    let text = stream.explain().unwrap();
    assert!(text.contains("== Streaming plan ==") && text.contains("source-memory"), "{text}");
    let rows = bench.session.sql("EXPLAIN SELECT 1").unwrap().collect().unwrap();
    assert!(rows[0].num_rows() > 0);
}

#[test]
fn statements_create_read_write_and_drop() {
    let bench = bench();
    bench.people("p", &[("ana", 30), ("bia", 17)]).finish();
    let session = &bench.session;
    let results = session
        .execute(
            "-- people\n\
             CREATE EXTERNAL TABLE people STORED AS MEMORY OPTIONS ('name' 'p');\n\
             CREATE UNBOUNDED EXTERNAL TABLE arriving (nome STRING, idade LONG) STORED AS memory OPTIONS (name 'p');\n\
             CREATE EXTERNAL TABLE out (nome STRING, idade INT) STORED AS MEMORY OPTIONS ('name' 'out');\n\
             CREATE EXTERNAL TABLE again STORED AS MEMORY OPTIONS ('name' 'again');\n\
             CREATE VIEW adults AS SELECT * FROM people WHERE idade >= 18;\n\
             INSERT INTO again SELECT * FROM adults;\n\
             SELECT nome, idade FROM again;\n\
             DESCRIBE people;\n\
             SET datafusion.execution.batch_size = 100;\n\
             EXPLAIN SELECT nome FROM arriving;\n\
             DROP VIEW adults;",
        )
        .unwrap();
    assert_eq!(results.len(), 11);
    assert!(matches!(results[5], StatementResult::Written));
    let StatementResult::Rows(rows) = &results[6] else { panic!("{:?}", results[6]) };
    assert_eq!(collected(rows), owned(&[("ana", 30)]));
    let StatementResult::Rows(described) = &results[7] else { panic!("{:?}", results[7]) };
    assert_eq!(described.count().unwrap(), 2);
    let StatementResult::Rows(explained) = &results[9] else { panic!("{:?}", results[9]) };
    assert!(explained.show_string(50, None).unwrap().contains("Streaming plan"));
    user(session.table("adults").unwrap_err(), "no table `adults`");
    let options = RunOptions { trigger: Some(Trigger::AvailableNow), ..RunOptions::default() };
    let results =
        session.execute_with("INSERT INTO out SELECT nome, idade + 1 FROM arriving", &options).unwrap();
    let [StatementResult::Started(query)] = &results[..] else { panic!("{results:?}") };
    query.await_termination().unwrap();
    assert_eq!(session.table("out").unwrap().count().unwrap(), 2);
    let out = bench.tables.get("out").unwrap().schema();
    assert_eq!(out.field(1).data_type(), &DataType::Int32);
    assert!(session.table("arriving").unwrap().is_streaming());
}

#[test]
fn external_tables_are_written_by_name() {
    let bench = bench();
    bench.people("p", &[("ana", 30), ("bia", 17)]).finish();
    let people = bench.read("p");
    let options =
        |writer: lotic::table::DataFrameWriter, name: &str| writer.format("memory").option("name", name);
    options(people.write(), "kept").save_as_table("kept").unwrap();
    user(options(people.write(), "kept").save_as_table("kept").unwrap_err(), "already a table `kept`");
    people.write().insert_into("kept").unwrap();
    assert_eq!(bench.session.table("kept").unwrap().count().unwrap(), 4);
    let query =
        bench.read_stream("p").write_stream().trigger(Trigger::AvailableNow).to_table("kept").unwrap();
    query.await_termination().unwrap();
    assert_eq!(bench.session.read().table("kept").unwrap().count().unwrap(), 6);
    user(people.write().insert_into("kep").unwrap_err(), "did you mean `kept`?");
    let narrow = people.select(["nome"]).unwrap();
    user(narrow.write().insert_into("kept").unwrap_err(), "has 2 columns, and 1 were given");
    user(bench.session.read_stream().table("kept").unwrap_err(), "is bounded");
}

#[test]
fn mistakes_in_sql_are_told_with_their_place() {
    let bench = bench();
    bench.people("p", &[("ana", 30)]);
    let session = &bench.session;
    session.execute("CREATE EXTERNAL TABLE people STORED AS MEMORY OPTIONS ('name' 'p')").unwrap();
    let at = |text: &str| {
        let error = session.execute(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User, "{error}");
        let place = error.location().unwrap();
        ((place.line, place.column), error.to_string())
    };
    let (place, error) = at("SELECT 1;\nSELECT nome,\n  idad FROM people");
    assert_eq!(place, (3, 3));
    assert!(error.contains("did you mean `idade`?"), "{error}");
    assert_eq!(at("SELECT 1;\n  SELEC 2").0, (2, 3));
    assert_eq!(at("SELECT nome FROM people WHERE (idade > 1").0.0, 1);
    let (place, error) = at("\nCREATE EXTERNAL TABLE t (a STRNG) STORED AS MEMORY");
    assert_eq!(place, (2, 26));
    assert!(error.contains("did you mean `STRING`?"), "{error}");
    let (_, error) = at("CREATE EXTERNAL TABLE t (a INT) STORED AS MEMRY");
    assert!(error.contains("did you mean `memory`?"), "{error}");
    let (_, error) = at("CREATE EXTERNAL TABLE t (a INT) STORED AS MEMORY OPTIONS ('nam' 'x')");
    assert!(error.contains("did you mean `name`?"), "{error}");
    let (_, error) = at("CREATE EXTERNAL TABLE people STORED AS MEMORY OPTIONS ('name' 'p')");
    assert!(error.contains("already a table"), "{error}");
    let (_, error) =
        at("CREATE EXTERNAL TABLE t (a INT) STORED AS MEMORY OPTIONS ('name' 'x', 'watermark.column' 'a')");
    assert!(error.contains("`watermark.column` without `watermark.delay`"), "{error}");
    session.execute("CREATE EXTERNAL TABLE later STORED AS MEMORY OPTIONS ('name' 'later')").unwrap();
    let (_, error) = at("SELECT nome FROM later");
    assert!(error.contains("table `later` cannot be read: there is no table `later` in memory"), "{error}");
    let (_, error) = at("COPY people TO 'x.csv'");
    assert!(error.contains("COPY is not supported"), "{error}");
    user(session.sql("DROP TABLE people").unwrap_err(), "use `execute`");
    user(session.sql("SELECT 1; SELECT 2").unwrap_err(), "one statement");
    user(session.set("datafusion.execution.batch_siz", "1").unwrap_err(), "datafusion.execution.batch_size");
}

#[test]
fn tables_are_computed_and_dropped_within_an_async_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let bench = bench();
        bench.people("p", &[("ana", 30)]);
        assert_eq!(bench.read("p").count().unwrap(), 1);
        bench.read("p").write().format("memory").option("name", "out").save_default().unwrap();
        drop(bench);
    });
}

/// The first program of Spark's guide to Structured Streaming.
#[test]
fn words_are_counted_in_a_stream_of_lines() {
    let bench = bench();
    let lines = bench.people("lines", &[("to be or not", 1), ("", 2), ("to be", 3)]);
    let words = bench.read_stream("lines").select([explode(split(col("nome"), lit(" "))).alias("word")]);
    let counts = words.unwrap().group_by(["word"]).unwrap().count().unwrap();
    let query = counts.write_stream().format("memory").option("name", "counts").output_mode("complete");
    let query = query.trigger(Trigger::Continuous(Duration::from_millis(10))).start().unwrap();
    query.process_all_available().unwrap();
    lines.add(people_rows(&[("or  be", 4)])).unwrap();
    query.process_all_available().unwrap();
    let expected = [("", 2), ("be", 3), ("not", 1), ("or", 2), ("to", 2)];
    assert_eq!(bench.rows("counts"), owned(&expected));
    query.stop().unwrap();
}

#[test]
fn rows_come_while_they_are_computed_and_after_an_error_none() {
    let session = Session::builder().get_or_create().unwrap();
    let numbers =
        session.sql("SELECT CAST(value AS STRING) AS text, value FROM generate_series(1, 100000)").unwrap();
    let frame = numbers.clone();
    let batches = frame.to_local_iterator().unwrap();
    drop((session, numbers, frame));
    let batches: Vec<RecordBatch> = batches.map(Result::unwrap).collect();
    assert!(batches.len() > 1, "batch by batch");
    let seen: Vec<i64> = pairs(&batches).into_iter().map(|(_, number)| number).collect();
    assert_eq!((seen.len(), seen.iter().sum::<i64>()), (100_000, 5_000_050_000));
    let session = Session::builder().get_or_create().unwrap();
    let wrong = session.sql("SELECT 1 / (value - 60000) FROM generate_series(1, 100000)").unwrap();
    let mut batches = wrong.to_local_iterator().unwrap().skip_while(Result::is_ok);
    let error = batches.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("zero"), "{error}");
    assert!(batches.next().is_none() && batches.next().is_none());
    let endless = session.read_stream().format("rate").load().unwrap();
    user(endless.to_local_iterator().err().unwrap(), "`to_local_iterator` needs a bounded table");
}

#[test]
fn a_stream_is_exploded_as_a_batch_is() {
    let bench = bench();
    let table = bench.people("p", &[("a,b", 2), ("", 0), (",", 1), ("c", 3)]);
    table.finish();
    let some = "CASE WHEN idade <> 1 THEN split(nome, ',') END";
    for (at, call) in ["explode(split(nome, ','))", &format!("explode_outer({some})")].into_iter().enumerate()
    {
        let name = format!("exploded{at}");
        let of = |frame: DataFrame| frame.select_expr(&[&format!("{call} AS a"), "idade"]).unwrap();
        let of = |frame: DataFrame| of(frame).select_expr(&["coalesce(a, 'none') AS a", "idade"]).unwrap();
        let writer = of(bench.read_stream("p")).write_stream().format("memory").option("name", &name);
        writer.trigger(Trigger::AvailableNow).start().unwrap().await_termination().unwrap();
        assert_eq!(bench.rows(&name), collected(&of(bench.read("p"))), "{call}");
        assert_eq!(bench.rows(&name).len(), 6 - at, "{call}");
    }
}

#[test]
fn explode_is_a_column_of_a_select_alone() {
    let bench = bench();
    bench.people("p", &[("ana,rui", 30)]);
    bench.session.execute("CREATE EXTERNAL TABLE p STORED AS MEMORY OPTIONS ('name' 'p')").unwrap();
    let sql = |text: &str| bench.session.sql(text).and_then(|frame| frame.collect());
    let rows =
        sql("SELECT col, idade FROM (SELECT explode(split(nome, ',')), idade FROM p) ORDER BY col").unwrap();
    assert_eq!(pairs(&rows), owned(&[("ana", 30), ("rui", 30)]));
    let none = "CASE WHEN idade < 0 THEN split(nome, ',') END";
    let rows = sql(&format!("SELECT explode_outer({none}) AS a, idade FROM p")).unwrap();
    assert_eq!((rows[0].num_rows(), rows[0].column(0).null_count()), (1, 1));
    assert_eq!(sql(&format!("SELECT explode({none}) AS a FROM p")).unwrap().len(), 0);
    for (text, part) in [
        ("SELECT upper(explode(split(nome, ','))) FROM p", "a column by itself"),
        ("SELECT explode(split(nome, ',')) AS a, explode(split(nome, 'a')) AS b FROM p", "several calls"),
        ("SELECT nome FROM p WHERE explode(split(nome, ',')) = 'ana'", "in SELECT alone"),
        ("SELECT explode(nome) FROM p", "takes a list, and its argument is"),
        ("SELECT split(nome, 'a(') FROM p", "`a(` is no regular expression"),
        ("SELECT split(nome, 1) FROM p", "split takes a text"),
    ] {
        user(sql(text).unwrap_err(), part);
    }
}

#[test]
fn functions_of_spark_that_datafusion_lacks_are_known() {
    let bench = bench();
    let rows = bench.session.sql("SELECT ceil(1.2), hex(255), upper('a')").unwrap().collect().unwrap();
    assert_eq!(
        rows[0].column(1).as_string_opt::<i32>().map(|text| text.value(0).to_owned()).as_deref(),
        Some("FF")
    );
    let schema = Schema::empty();
    assert_eq!(tree(&schema), "root\n");
}
