//! Rows as files in a folder: exactly once, in their places.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "table")]

mod table_files_support;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use lotic_connectors::table::files::FilesFormat;
use lotic_connectors::table::{Options, OutputMode, ReadRequest, SaveMode, TableFormat, WriteRequest};
use lotic_connectors::testing::{SinkWorld, check_sink};
use lotic_connectors::{Committer, ErrorKind, Prepare, Result, Sink, SinkFactory, SinkTraits};
use lotic_operators::table::TableBatch;
use lotic_operators::{Epoch, Instance, Rows};
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use table_files_support::{Bars, lines_of, options, put, schema, tree};
use tempfile::TempDir;

type Factory = Box<dyn SinkFactory<TableBatch>>;

fn request(folder: &Path, partition_by: &[&str], more: &[(&str, &str)]) -> WriteRequest {
    WriteRequest {
        options: options(folder, more),
        schema: schema(),
        partition_by: partition_by.iter().map(|name| (*name).to_owned()).collect(),
        output_mode: OutputMode::Append,
        save_mode: None,
    }
}

fn factory(request: &WriteRequest) -> Result<Factory> {
    FilesFormat::new(Bars).sink(request)
}

fn rows(values: &[(i64, Option<&str>)]) -> TableBatch {
    let numbers: Int64Array = values.iter().map(|(number, _)| Some(*number)).collect();
    let names: StringArray = values.iter().map(|(_, name)| *name).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(names)];
    TableBatch::from(RecordBatch::try_new(schema(), columns).unwrap())
}

/// Writes each list of rows as an epoch and commits it.
fn write_epochs(factory: &Factory, epochs: &[&[(i64, Option<&str>)]]) {
    let mut sink = factory.create(Instance::ONLY).unwrap();
    let mut committer = factory.committer("query/sink").unwrap().unwrap();
    sink.start(Epoch(1)).unwrap();
    for (at, values) in epochs.iter().enumerate() {
        let epoch = Epoch(at as u64 + 1);
        sink.write(&mut rows(values), Waker::noop()).unwrap();
        if let Some(prepare) = sink.pre_commit(epoch).unwrap() {
            committer.commit(epoch, &[&prepare().unwrap()]).unwrap();
        }
    }
}

/// Reads a folder back as a bounded table.
fn read_back(folder: &Path) -> Vec<String> {
    let request = ReadRequest { options: options(folder, &[]), schema: Some(schema()) };
    let table = FilesFormat::new(Bars).bounded(&request).unwrap();
    let parts = (0..table.partitions().unwrap()).flat_map(|part| table.read(part, None).unwrap());
    let mut lines: Vec<String> = parts.flat_map(|rows| lines_of(&rows.unwrap())).collect();
    lines.sort();
    lines
}

/// The kit's numbers as rows of a table.
struct Numbers {
    folder: TempDir,
    partition_by: &'static [&'static str],
    more: &'static [(&'static str, &'static str)],
}

struct NumbersFactory(Factory);
struct NumbersSink(Box<dyn Sink<TableBatch>>);

impl SinkFactory<Rows<u64>> for NumbersFactory {
    fn traits(&self) -> SinkTraits {
        self.0.traits()
    }
    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<Rows<u64>>>> {
        Ok(Box::new(NumbersSink(self.0.create(instance)?)))
    }
    fn committer(&self, writer: &str) -> Result<Option<Box<dyn Committer>>> {
        self.0.committer(writer)
    }
}

impl Sink<Rows<u64>> for NumbersSink {
    fn start(&mut self, epoch: Epoch) -> Result<()> {
        self.0.start(epoch)
    }
    fn write(&mut self, batch: &mut Rows<u64>, waker: &Waker) -> Result<()> {
        const NAMES: [Option<&str>; 3] = [Some("../.."), None, Some("a=b")];
        let values: Vec<_> = batch.map(|number| (number as i64, NAMES[number as usize % 3])).collect();
        if values.is_empty() {
            return Ok(());
        }
        self.0.write(&mut rows(&values), waker)
    }
    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<Prepare>> {
        self.0.pre_commit(epoch)
    }
}

impl SinkWorld for Numbers {
    type Row = u64;
    fn open(&mut self) -> Box<dyn SinkFactory<Rows<u64>>> {
        let request = request(self.folder.path(), self.partition_by, self.more);
        Box::new(NumbersFactory(factory(&request).unwrap()))
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        read_back(self.folder.path())
            .iter()
            .map(|line| line.split('|').next().unwrap().parse().unwrap())
            .collect()
    }
}

#[test]
fn every_row_is_seen_once_whenever_the_process_dies() {
    check_sink(|| Numbers { folder: TempDir::new().unwrap(), partition_by: &[], more: &[] });
}

#[test]
fn every_row_is_seen_once_in_partition_folders_and_files_of_bounded_size_too() {
    let more = &[("maxRowsPerFile", "700")];
    check_sink(|| Numbers { folder: TempDir::new().unwrap(), partition_by: &["name"], more });
}

#[test]
fn an_epoch_is_one_file_per_instance_and_folder_that_appears_with_the_commit() {
    let outside = TempDir::new().unwrap();
    let folder = outside.path().join("not/there/yet");
    let factory = factory(&request(&folder, &["name"], &[])).unwrap();
    assert!(!folder.exists(), "nothing is touched before the start");
    let mut sink = factory.create(Instance { index: 2, parallelism: 3 }).unwrap();
    let mut committer = factory.committer("query/sink").unwrap().unwrap();
    committer.abort_prepared().unwrap();
    sink.start(Epoch(7)).unwrap();
    assert!(sink.pre_commit(Epoch(7)).unwrap().is_none(), "an epoch without rows leaves no file");
    sink.write(&mut rows(&[(1, Some("a")), (2, None), (3, Some("a"))]), Waker::noop()).unwrap();
    let handle = sink.pre_commit(Epoch(8)).unwrap().unwrap()().unwrap();
    assert!(tree(&folder).iter().all(|name| name.starts_with(".part-") && name.ends_with(".inprogress")));
    committer.commit(Epoch(8), &[&handle]).unwrap();
    committer.commit(Epoch(8), &[&handle]).unwrap();
    let names = [
        "name=__HIVE_DEFAULT_PARTITION__/part-000000000008-002-0001.bars",
        "name=a/part-000000000008-002-0000.bars",
    ];
    assert_eq!(tree(&folder), names);
    assert_eq!(
        fs::read_to_string(folder.join(names[1])).unwrap(),
        "1\n3\n",
        "partition columns are in the path alone"
    );
    assert_eq!(committer.last_committed().unwrap(), Epoch(8));
}

#[test]
fn values_never_lead_out_of_the_folder_and_are_read_back() {
    let outside = TempDir::new().unwrap();
    let folder = outside.path().join("out");
    let values =
        ["../..", "..", ".", "/etc", "a=b", "%2F", "São ☕", "a/b", "nul\0", "__HIVE_DEFAULT_PARTITION__"];
    let given: Vec<_> = values.iter().enumerate().map(|(at, value)| (at as i64, Some(*value))).collect();
    write_epochs(&factory(&request(&folder, &["name"], &[])).unwrap(), &[&given]);
    let mut expected: Vec<String> =
        given.iter().map(|(at, value)| format!("{at}|{}", value.unwrap())).collect();
    expected.sort();
    assert_eq!(read_back(&folder), expected);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "nothing is beside the folder");
    assert!(tree(&folder).iter().all(|path| path.split('/').count() == 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_is_written_is_read_back(
        epochs in proptest::collection::vec(
            proptest::collection::vec((any::<i32>(), proptest::option::of("[^|\n\r]{1,6}")), 1..30), 1..4),
        limit in 1u32..20,
        partitioned in any::<bool>(),
    ) {
        let folder = TempDir::new().unwrap();
        let limit = limit.to_string();
        let partition_by: &[&str] = if partitioned { &["name"] } else { &[] };
        let factory = factory(&request(folder.path(), partition_by, &[("maxRowsPerFile", &limit)])).unwrap();
        let values: Vec<Vec<(i64, Option<&str>)>> = epochs
            .iter()
            .map(|epoch| epoch.iter().map(|(n, name)| (i64::from(*n), Some(name.as_deref().unwrap_or("null")))).collect())
            .collect();
        let slices: Vec<&[(i64, Option<&str>)]> = values.iter().map(Vec::as_slice).collect();
        write_epochs(&factory, &slices);
        let mut expected: Vec<String> =
            values.iter().flatten().map(|(n, name)| format!("{n}|{}", name.unwrap())).collect();
        expected.sort();
        prop_assert_eq!(read_back(folder.path()), expected);
    }
}

#[test]
fn files_are_ended_at_their_limits_and_few_are_open_at_once() {
    let folder = TempDir::new().unwrap();
    let long = "x".repeat(100);
    let many: Vec<_> = (0..10).map(|n| (n, Some(long.as_str()))).collect();
    write_epochs(
        &factory(&request(folder.path(), &[], &[("maxFileBytes", "150")])).unwrap(),
        &[&many[..1], &many],
    );
    assert_eq!(tree(folder.path()).len(), 2, "a limit of bytes ends a file after a batch, not within one");
    let folder = TempDir::new().unwrap();
    write_epochs(&factory(&request(folder.path(), &[], &[("maxRecordsPerFile", "4")])).unwrap(), &[&many]);
    let lengths = tree(folder.path());
    let lengths: Vec<_> = lengths
        .iter()
        .map(|name| fs::read_to_string(folder.path().join(name)).unwrap().lines().count())
        .collect();
    assert_eq!(lengths, [4, 4, 2]);
    let folder = TempDir::new().unwrap();
    let names: Vec<String> = (0..200).map(|n| format!("p{n}")).collect();
    let twice: Vec<_> =
        names.iter().chain(&names).enumerate().map(|(n, name)| (n as i64, Some(name.as_str()))).collect();
    write_epochs(&factory(&request(folder.path(), &["name"], &[])).unwrap(), &[&twice]);
    assert_eq!(read_back(folder.path()).len(), 400);
}

#[test]
fn save_modes_do_what_they_say() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "name=old/old.bars", "1\n", 0);
    put(folder.path(), "_notes", "mine", 0);
    put(folder.path(), "plain/file.bars", "mine", 0);
    let save = |mode| {
        factory(&WriteRequest { save_mode: Some(mode), ..request(folder.path(), &["name"], &[]) }).unwrap()
    };
    let error = save(SaveMode::ErrorIfExists).create(Instance::ONLY).unwrap().start(Epoch(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(
        error.to_string().contains("name=old/old.bars") && error.to_string().contains("Overwrite"),
        "{error}"
    );
    write_epochs(&save(SaveMode::Ignore), &[&[(2, Some("ignored"))]]);
    assert_eq!(read_back(folder.path()), ["1|old"]);
    write_epochs(&save(SaveMode::Append), &[&[(2, Some("a"))]]);
    write_epochs(&save(SaveMode::Append), &[&[(3, Some("a"))], &[(4, None)]]);
    assert_eq!(read_back(folder.path()), ["1|old", "2|a", "3|a", "4|null"]);

    let overwrite = save(SaveMode::Overwrite);
    let mut sink = overwrite.create(Instance::ONLY).unwrap();
    sink.start(Epoch(1)).unwrap();
    sink.write(&mut rows(&[(5, Some("new"))]), Waker::noop()).unwrap();
    let handle = sink.pre_commit(Epoch(1)).unwrap().unwrap()().unwrap();
    assert_eq!(read_back(folder.path()).len(), 4, "old files stay until the new ones are committed");
    let mut committer = overwrite.committer("query/sink").unwrap().unwrap();
    committer.commit(Epoch(1), &[&handle]).unwrap();
    committer.commit(Epoch(1), &[&handle]).unwrap();
    assert_eq!(read_back(folder.path()), ["5|new"]);
    assert!(!folder.path().join("name=old").exists() && folder.path().join("_notes").exists());
    assert!(folder.path().join("plain/file.bars").exists(), "what a read of the folder does not find stays");
    drop((overwrite, sink, committer));
    write_epochs(&save(SaveMode::Overwrite), &[&[]]);
}

#[test]
fn what_cannot_be_written_is_refused_before_anything_is_touched() {
    let outside = TempDir::new().unwrap();
    let folder = outside.path().join("out");
    let refused = |request: &WriteRequest| factory(request).err().unwrap().to_string();
    for mode in [OutputMode::Update, OutputMode::Complete] {
        let error = refused(&WriteRequest { output_mode: mode, ..request(&folder, &[], &[]) });
        assert!(error.contains("does not support output mode") && error.contains("Append"), "{error}");
    }
    let error = refused(&request(&folder, &["nmae"], &[]));
    assert!(error.contains("no column `nmae`") && error.contains("n, name"), "{error}");
    let error = refused(&request(&folder, &["n", "name"], &[]));
    assert!(error.contains("all columns are partition columns"), "{error}");
    let error = refused(&request(&folder, &[], &[("maxRowPerFile", "1")]));
    assert!(error.contains("did you mean `maxRowsPerFile`"), "{error}");
    let error = refused(&request(&folder, &[], &[("maxRowsPerFile", "0")]));
    assert!(error.contains("maxRowsPerFile") && error.contains("from 1 up"), "{error}");
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let fields = vec![Field::new("n", DataType::Int64, true), Field::new("l", list, true)];
    let nested: SchemaRef = Arc::new(Schema::new(fields));
    let error = refused(&WriteRequest { schema: nested, ..request(&folder, &["l"], &[]) });
    assert!(error.contains("column `l`") && error.contains("cannot be partitioned by"), "{error}");
    let mut without = request(&folder, &[], &[]);
    without.options = Options::default();
    assert!(refused(&without).contains("option `path`"));
    assert!(!folder.exists());
}

#[test]
fn a_handle_cannot_reach_beyond_the_folder() {
    let outside = TempDir::new().unwrap();
    let factory = factory(&request(&outside.path().join("out"), &[], &[])).unwrap();
    let mut committer = factory.committer("query/sink").unwrap().unwrap();
    let (hidden, visible) = (".part-000000000001-000-0000-0.inprogress", "part-000000000001-000-0000.bars");
    fs::write(outside.path().join(hidden), "secret").unwrap();
    for (hidden, visible) in [
        (format!("../{hidden}"), visible.to_owned()),
        (hidden.to_owned(), format!("../{visible}")),
        (hidden.to_owned(), format!("a=1/../../{visible}")),
        (hidden.to_owned(), format!("/{visible}")),
        (hidden.to_owned(), ".bashrc".to_owned()),
    ] {
        let handle = format!(r#"{{"version":1,"files":[["{hidden}","{visible}"]]}}"#);
        let error = committer.commit(Epoch(1), &[handle.as_bytes()]).unwrap_err();
        assert!(error.to_string().contains("does not understand its handle for epoch 1"), "{error}");
    }
    for damaged in [&b""[..], b"\x00", b"{}", br#"{"version":2,"files":[]}"#] {
        assert_eq!(committer.commit(Epoch(1), &[damaged]).unwrap_err().kind(), ErrorKind::User);
    }
}

#[test]
fn recovery_deletes_what_was_prepared_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let foreign =
        [".hidden", ".part-x.inprogress", "name=a/.part-000000000001-000-0000-0.inprogress", "notes.txt"];
    for name in foreign {
        put(folder.path(), name, "mine", 0);
    }
    let factory = factory(&request(folder.path(), &[], &[])).unwrap();
    let mut sink = factory.create(Instance::ONLY).unwrap();
    sink.start(Epoch(1)).unwrap();
    sink.write(&mut rows(&[(1, None)]), Waker::noop()).unwrap();
    sink.pre_commit(Epoch(1)).unwrap().unwrap()().unwrap();
    sink.write(&mut rows(&[(2, None)]), Waker::noop()).unwrap();
    assert_eq!(tree(folder.path()).len(), foreign.len() + 2);
    factory.committer("query/sink").unwrap().unwrap().abort_prepared().unwrap();
    assert_eq!(tree(folder.path()), foreign);
}

#[test]
fn a_folder_of_another_checkpoint_or_a_file_in_its_place_is_refused() {
    let folder = TempDir::new().unwrap();
    let first = factory(&request(folder.path(), &[], &[])).unwrap();
    write_epochs(&first, &[&[(1, None)], &[(2, None)]]);
    let error = first.create(Instance::ONLY).unwrap().start(Epoch(2)).unwrap_err();
    assert!(error.to_string().contains("already holds the output of epoch 2"), "{error}");
    first.create(Instance::ONLY).unwrap().start(Epoch(3)).unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = factory(&request(&file, &[], &[]))
        .unwrap()
        .create(Instance::ONLY)
        .unwrap()
        .start(Epoch(1))
        .unwrap_err();
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
}

#[test]
fn two_queries_cannot_write_to_one_folder_at_a_time() {
    let outside = TempDir::new().unwrap();
    let folder = outside.path().join("out");
    let first = factory(&request(&folder, &[], &[])).unwrap();
    let mut sink = first.create(Instance::ONLY).unwrap();
    let mut committer = first.committer("query/sink").unwrap().unwrap();
    sink.start(Epoch(1)).unwrap();
    sink.write(&mut rows(&[(1, None)]), Waker::noop()).unwrap();
    let handle = sink.pre_commit(Epoch(1)).unwrap().unwrap()().unwrap();
    // Before anything is committed a stream and a bounded write come, by another name of the folder.
    let link = outside.path().join("link");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    for save_mode in [None, Some(SaveMode::Append), Some(SaveMode::Overwrite)] {
        let second = factory(&WriteRequest { save_mode, ..request(&link, &[], &[]) }).unwrap();
        let refusals = [
            second.committer("query/sink").unwrap().unwrap().abort_prepared().unwrap_err(),
            second.create(Instance::ONLY).unwrap().start(Epoch(1)).unwrap_err(),
        ];
        for error in refusals.map(|error| error.to_string()) {
            assert!(error.contains("another running query writes to this folder"), "{error}");
        }
    }
    committer.commit(Epoch(1), &[&handle]).unwrap();
    assert_eq!(read_back(&folder), ["1|null"]);
    // Once the first has ended, the folder is free.
    drop((sink, committer, first));
    let next = factory(&request(&folder, &[], &[])).unwrap();
    next.committer("query/sink").unwrap().unwrap().abort_prepared().unwrap();
    next.create(Instance::ONLY).unwrap().start(Epoch(2)).unwrap();
}
