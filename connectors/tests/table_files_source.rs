//! The stream of new files against a model: random folders, batches, crashes, parallelism.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "table")]

mod table_files_support;

use lotic_connectors::table::files::FilesFormat;
use lotic_connectors::table::{ReadRequest, TableFormat};
use lotic_connectors::{Offsets, PollRequest, Polled, Result, Source, SourceFactory};
use lotic_operators::table::TableBatch;
use lotic_operators::{Epoch, Instance, Restore, Snapshot, StateImage};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};
use table_files_support::{Bars, lines_of, options, put, schema, tree};
use tempfile::TempDir;

const QUICK: (&str, &str) = ("pollInterval", "1 ms");
/// What a batch without a limit of rows is planned with.
const LIMITED: u64 = u64::MAX - 1;

fn factory(folder: &Path, more: &[(&str, &str)]) -> Box<dyn SourceFactory<TableBatch>> {
    let mut options = options(folder, more);
    if options.get("pollInterval").is_none() {
        options.set(QUICK.0, QUICK.1);
    }
    let request = ReadRequest { options, schema: Some(schema()) };
    FilesFormat::new(Bars).stream(&request).unwrap().source(None).unwrap()
}

/// Plays the engine: the instances of a source, and a checkpoint.
struct Run {
    sources: Vec<Box<dyn Source<TableBatch>>>,
}

/// What a checkpoint holds: by instance and table, chunks by number.
#[derive(Default, Clone)]
struct Checkpoint {
    offsets: Offsets,
    tables: BTreeMap<(usize, &'static str), BTreeMap<u32, Vec<u8>>>,
}

impl Checkpoint {
    fn store(&mut self, instance: usize, snapshot: Snapshot) {
        for table in snapshot.tables {
            let chunks = self.tables.entry((instance, table.table)).or_default();
            if table.full {
                chunks.clear();
            }
            for (number, chunk) in table.chunks {
                let bytes = chunks.entry(number).or_default();
                if !chunk.adds() {
                    bytes.clear();
                }
                chunk.encode(bytes).unwrap();
            }
        }
    }

    fn image(&self) -> StateImage {
        let mut image = StateImage::default();
        for ((_, table), chunks) in &self.tables {
            image.tables.entry((*table).to_owned()).or_default().extend(chunks.values().cloned());
        }
        image
    }
}

/// Asks for the end of what could be read until it is known: until files written just now have settled.
fn end_of(source: &mut dyn Source<TableBatch>, max_rows: u64) -> Offsets {
    loop {
        if let Some(end) = source.latest(max_rows, Waker::noop()).unwrap().known() {
            return end;
        }
        std::thread::yield_now();
    }
}

impl Run {
    fn start(factory: &dyn SourceFactory<TableBatch>, parallelism: usize, from: &Checkpoint) -> Result<Run> {
        let mut sources = Vec::new();
        for index in 0..parallelism {
            let instance = Instance { index, parallelism };
            let mut source = factory.create(instance)?;
            let image = from.image();
            if !image.tables.is_empty() {
                source.restore(Restore { image: &image, instance })?;
            }
            source.start(&from.offsets)?;
            sources.push(source);
        }
        Ok(Run { sources })
    }

    fn one(folder: &Path, more: &[(&str, &str)]) -> Run {
        Run::start(factory(folder, more).as_ref(), 1, &Checkpoint::default()).unwrap()
    }

    /// The marker of an epoch that becomes durable.
    fn mark(&mut self, checkpoint: &mut Checkpoint) {
        let parallelism = self.sources.len();
        checkpoint.tables.retain(|(instance, _), _| *instance < parallelism);
        checkpoint.offsets = Offsets::default();
        for (index, source) in self.sources.iter_mut().enumerate() {
            let offsets = source.offsets();
            checkpoint.offsets.merge(offsets.clone());
            checkpoint.store(index, source.snapshot().unwrap());
            source.committed(Epoch(1), &offsets);
        }
    }

    fn plan(&mut self, max_rows: u64) -> Offsets {
        let mut ends = Offsets::default();
        for source in &mut self.sources {
            ends.merge(end_of(source.as_mut(), max_rows));
        }
        ends
    }

    /// Reads a planned batch to its end.
    fn batch(&mut self, until: &Offsets, max_rows: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for source in &mut self.sources {
            loop {
                let request = PollRequest { max_rows, until: Some(until), waker: Waker::noop() };
                match source.poll(request).unwrap() {
                    Polled::Batch(rows) => lines.extend(lines_of(rows.rows_left())),
                    Polled::AtEnd => break,
                    Polled::Pending(_) => {}
                    Polled::Finished => unreachable!("a stream of files does not end"),
                }
            }
        }
        lines
    }

    /// At most this many polls without a plan.
    fn free(&mut self, polls: usize, max_rows: usize) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for source in &mut self.sources {
            for _ in 0..polls {
                let request = PollRequest { max_rows, until: None, waker: Waker::noop() };
                if let Polled::Batch(rows) = source.poll(request)? {
                    assert!((1..=max_rows).contains(&rows.rows_left().num_rows()));
                    lines.extend(lines_of(rows.rows_left()));
                }
            }
        }
        Ok(lines)
    }

    /// Polls until there are this many lines.
    fn until(&mut self, lines_wanted: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut lines = Vec::new();
        while lines.len() < lines_wanted {
            assert!(Instant::now() < deadline, "the source stands still, with {lines:?}");
            lines.extend(self.free(1, 100).unwrap());
        }
        lines
    }

    fn all(&mut self) -> Vec<String> {
        let until = self.plan(u64::MAX);
        self.batch(&until, 100)
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A file of so many rows, in this partition folder or none, modified at this second.
    Put {
        rows: u8,
        folder: u8,
        modified_s: u16,
    },
    Free {
        polls: usize,
        max_rows: usize,
    },
    Mark,
    Batch {
        max_rows: usize,
        dies: bool,
    },
    Crash {
        parallelism: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..12, 0u8..3, any::<u16>()).prop_map(|(rows, folder, modified_s)| Step::Put { rows, folder, modified_s }),
        4 => (1usize..6, 1usize..5).prop_map(|(polls, max_rows)| Step::Free { polls, max_rows }),
        2 => Just(Step::Mark),
        3 => (1usize..5, any::<bool>()).prop_map(|(max_rows, dies)| Step::Batch { max_rows, dies }),
        2 => (1usize..4).prop_map(|parallelism| Step::Crash { parallelism }),
    ];
    proptest::collection::vec(step, 0..40)
}

/// The world: a folder, the rows put into it, the rows of durable epochs, the run.
struct World {
    folder: TempDir,
    more: Vec<(&'static str, &'static str)>,
    put: Vec<String>,
    durable: Vec<String>,
    pending: Vec<String>,
    checkpoint: Checkpoint,
    run: Run,
}

impl World {
    fn new(more: Vec<(&'static str, &'static str)>) -> World {
        let folder = TempDir::new().unwrap();
        let run = Run::one(folder.path(), &more);
        let (put, durable, pending) = Default::default();
        World { folder, more, put, durable, pending, checkpoint: Checkpoint::default(), run }
    }

    fn put(&mut self, rows: u8, folder: u8, modified_s: u16) {
        let number = self.put.len();
        let lines: Vec<String> = (0..rows).map(|row| format!("{}|x", number + usize::from(row))).collect();
        let place = ["", "k=1/", "k=%2F/"][usize::from(folder)];
        let name = format!("{place}f{number:03}-{modified_s}.bars");
        put(self.folder.path(), &name, &format!("{}\n", lines.join("\n")), u64::from(modified_s));
        if lines.is_empty() {
            fs::remove_file(self.folder.path().join(name)).unwrap();
        }
        self.put.extend(lines);
    }

    fn mark(&mut self) {
        self.run.mark(&mut self.checkpoint);
        self.durable.append(&mut self.pending);
    }

    fn crash(&mut self, parallelism: usize) {
        self.pending.clear();
        let factory = factory(self.folder.path(), &self.more);
        let parallelism = parallelism.min(factory.traits().max_parallelism);
        self.run = Run::start(factory.as_ref(), parallelism, &self.checkpoint).unwrap();
    }

    fn batch(&mut self, max_rows: usize, dies: bool) {
        // A batch begins at a durable epoch.
        self.mark();
        let until = self.run.plan(LIMITED);
        let mut lines = self.run.batch(&until, max_rows);
        if dies {
            // New files arrive before it is run again, by as many or fewer instances.
            self.put(3, 0, 7);
            let parallelism = if self.run.sources.len() > 1 { 1 } else { 2 };
            self.crash(parallelism);
            let mut again = self.run.batch(&until, max_rows + 1);
            lines.sort();
            again.sort();
            assert_eq!(again, lines, "a batch that is run again is the same batch: {until}");
        }
        self.pending.extend(lines);
        self.mark();
    }

    fn end(mut self) {
        self.mark();
        loop {
            let lines = self.run.all();
            if lines.is_empty() {
                break;
            }
            self.durable.extend(lines);
        }
        self.durable.sort();
        self.put.sort();
        assert_eq!(self.durable, self.put, "every row once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_row_is_read_once_over_crashes_batches_and_changes_of_parallelism(
        steps in steps(),
        files_max in proptest::option::of(1usize..4),
        latest_first in any::<bool>(),
    ) {
        let mut more = Vec::new();
        if let Some(files_max) = files_max {
            more.push(("maxFilesPerTrigger", ["1", "2", "3"][files_max - 1]));
        }
        if latest_first {
            more.push(("latestFirst", "true"));
        }
        let mut world = World::new(more);
        for step in steps {
            match step {
                Step::Put { rows, folder, modified_s } => world.put(rows, folder, modified_s),
                Step::Free { polls, max_rows } => {
                    let lines = world.run.free(polls, max_rows).unwrap();
                    world.pending.extend(lines);
                }
                Step::Mark => world.mark(),
                Step::Batch { max_rows, dies } => world.batch(max_rows, dies),
                Step::Crash { parallelism } => world.crash(parallelism),
            }
        }
        world.end();
    }
}

#[test]
fn files_come_in_the_order_in_which_they_were_modified_and_batches_keep_to_their_limit() {
    let folder = TempDir::new().unwrap();
    for (name, modified_s) in [("c.bars", 1), ("a.bars", 3), ("b.bars", 1), ("d.bars", 2)] {
        put(folder.path(), name, &format!("1|{name}\n"), modified_s);
    }
    let names = |lines: Vec<String>| lines.iter().map(|line| line[2..3].to_owned()).collect::<String>();
    assert_eq!(names(Run::one(folder.path(), &[]).until(4)), "bcda");
    assert_eq!(names(Run::one(folder.path(), &[("latestFirst", "true")]).until(4)), "adcb");
    let mut run = Run::one(folder.path(), &[("maxFilesPerTrigger", "3")]);
    let until = run.plan(LIMITED);
    assert_eq!(until.get("/read/0"), Some(3));
    assert_eq!(names(run.batch(&until, 10)), "bcd");
    let position = run.sources[0].offsets();
    assert_eq!(position, Offsets::single("/read/0", 3));
    assert_eq!(names(run.all()), "a");
    assert_eq!(run.plan(LIMITED), run.sources[0].offsets(), "nothing is there: nothing is planned");
    assert_eq!(
        Run::one(folder.path(), &[("maxFilesPerTrigger", "1")]).plan(u64::MAX).0.len(),
        5,
        "all there is"
    );
}

#[test]
fn a_file_being_written_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name);
    for hidden in [".a.bars", "_a.bars", "a.bars.tmp", "a.bars._COPYING_", "a.bars.inprogress"] {
        fs::write(place(hidden), "1|half").unwrap();
    }
    put(folder.path(), "empty.bars", "", 0);
    // An hour: it is not taken to be whole before that.
    let slow = [("pollInterval", "1 h")];
    let mut run = Run::one(folder.path(), &slow);
    fs::write(place("growing.bars"), "1|ha").unwrap();
    // By a clock that is ahead, so that only two looks can tell.
    let ahead = SystemTime::now() + Duration::from_secs(3600);
    File::options().write(true).open(place("growing.bars")).unwrap().set_modified(ahead).unwrap();
    assert_eq!(run.plan(LIMITED), run.sources[0].offsets(), "it was modified just now");
    let mut quick = Run::one(folder.path(), &[]);
    assert_eq!(quick.all(), ["1|ha"], "asked for all there is, it waits until files have settled");
    fs::write(place("empty.bars"), "2|whole\n").unwrap();
    assert_eq!(quick.until(1), ["2|whole"], "a file counts from when it has content");
}

#[test]
fn a_file_that_grows_while_it_is_read_is_an_error() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "a.bars", "1|x\n2|x\n", 0);
    let mut run = Run::one(folder.path(), &[]);
    assert_eq!(run.free(1, 1).unwrap(), ["1|x"]);
    put(folder.path(), "a.bars", "1|x\n2|x\n3|x\n", 0);
    let error = run.free(1, 1).unwrap_err().to_string();
    assert!(error.contains("a.bars` changed while it was read") && error.contains("rename"), "{error}");
}

#[test]
fn a_planned_batch_is_run_again_with_files_that_would_not_be_taken_now() {
    let folder = TempDir::new().unwrap();
    let slow = [("pollInterval", "1 h")];
    put(folder.path(), "a.bars", "1|a\n", 1);
    put(folder.path(), "b.bars", "2|b\n", 2);
    let until = Run::one(folder.path(), &slow).plan(LIMITED);
    assert_eq!(until.0.len(), 3);
    let touch = |name: &str| {
        let ahead = SystemTime::now() + Duration::from_secs(3600);
        File::options().write(true).open(folder.path().join(name)).unwrap().set_modified(ahead).unwrap();
    };
    touch("a.bars");
    put(folder.path(), "c.bars", "3|c\n", 0);
    let mut run = Run::one(folder.path(), &slow);
    assert_eq!(run.batch(&until, 10), ["2|b", "1|a"]);
    let until = run.plan(LIMITED);
    assert_eq!(run.batch(&until, 10), ["3|c"]);
    fs::remove_file(folder.path().join("c.bars")).unwrap();
    let mut run = Run::one(folder.path(), &slow);
    let request = PollRequest { max_rows: 1, until: Some(&until), waker: Waker::noop() };
    let error = run.sources[0].poll(request).unwrap_err().to_string();
    assert!(error.contains("c.bars") && error.contains("ignoreMissingFiles"), "{error}");
}

#[test]
fn a_folder_that_is_missing_a_file_or_vanishes_is_named() {
    let outside = TempDir::new().unwrap();
    let folder = outside.path().join("in");
    let start = |folder: &Path| Run::start(factory(folder, &[]).as_ref(), 1, &Checkpoint::default());
    let error = start(&folder).err().unwrap().to_string();
    assert!(error.contains(folder.to_str().unwrap()) && error.contains("does not exist"), "{error}");
    fs::write(&folder, "1|x\n").unwrap();
    let error = start(&folder).err().unwrap().to_string();
    assert!(error.contains("is a file, not a folder") && error.contains("pathGlobFilter"), "{error}");
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    let mut run = start(&folder).unwrap();
    fs::remove_dir(&folder).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        assert!(Instant::now() < deadline, "it does not notice");
        if let Err(error) = run.free(1, 1) {
            break error.to_string();
        }
    };
    assert!(error.contains(folder.to_str().unwrap()) && error.contains("does not exist"), "{error}");
}

#[test]
fn a_stream_without_a_schema_is_told_how_to_give_one() {
    let folder = TempDir::new().unwrap();
    let request = ReadRequest { options: options(folder.path(), &[]), schema: None };
    let error = FilesFormat::new(Bars).stream(&request).unwrap_err().to_string();
    assert!(error.contains(".schema(\"name STRING, age INT\")"), "{error}");
    let wrong = ReadRequest { options: options(folder.path(), &[("cleanSource", "archive")]), ..request };
    let error = FilesFormat::new(Bars).stream(&wrong).unwrap_err().to_string();
    assert!(error.contains("sourceArchiveDir"), "{error}");
    let inside = folder.path().join("done");
    let inside = inside.to_str().unwrap();
    let more = [("cleanSource", "archive"), ("sourceArchiveDir", inside)];
    let wrong = ReadRequest { options: options(folder.path(), &more), schema: Some(schema()) };
    let error = FilesFormat::new(Bars).stream(&wrong).unwrap_err().to_string();
    assert!(error.contains("lies within the folder that is read"), "{error}");
}

#[test]
fn missing_and_corrupt_files_are_named_or_left_out() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "a.bars", "!", 1);
    put(folder.path(), "b.bars", "2|b\n", 2);
    put(folder.path(), "c.bars", "3|c\n", 3);
    let error = Run::one(folder.path(), &[]).free(1, 1).unwrap_err().to_string();
    assert!(error.contains("a.bars"), "{error}");
    let lenient = [("ignoreCorruptFiles", "true"), ("ignoreMissingFiles", "true")];
    let (mut strict, mut run) = (Run::one(folder.path(), &lenient[..1]), Run::one(folder.path(), &lenient));
    fs::remove_file(folder.path().join("b.bars")).unwrap();
    assert_eq!(run.until(1), ["3|c"]);
    let error = strict.free(1, 1).unwrap_err().to_string();
    assert!(error.contains("b.bars") && error.contains("ignoreMissingFiles"), "{error}");
}

#[test]
fn old_files_are_forgotten_and_not_read_again() {
    const DAY: u64 = 24 * 3600;
    let folder = TempDir::new().unwrap();
    put(folder.path(), "old.bars", "1|old\n", 0);
    let mut checkpoint = Checkpoint::default();
    let mut run = Run::one(folder.path(), &[("maxFileAge", "2d")]);
    assert_eq!(run.all(), ["1|old"]);
    run.mark(&mut checkpoint);
    for day in 1..200 {
        put(folder.path(), &format!("{day}.bars"), "2|new\n", day * DAY);
    }
    assert_eq!(run.all().len(), 199);
    run.mark(&mut checkpoint);
    let held: usize = checkpoint.image().chunks("files").iter().map(Vec::len).sum();
    assert!(held < 500, "{held} bytes of state for three files that are not forgotten");
    for parallelism in [1, 3] {
        let factory = factory(folder.path(), &[("maxFileAge", "2d")]);
        let mut later = Run::start(factory.as_ref(), parallelism, &checkpoint).unwrap();
        put(folder.path(), "late.bars", "3|late\n", 0);
        assert_eq!(
            later.all(),
            Vec::<String>::new(),
            "what was forgotten is not new, and what is as old neither"
        );
    }
}

#[test]
fn a_file_from_the_future_does_not_make_others_old() {
    let folder = TempDir::new().unwrap();
    let age = [("maxFileAge", "2d")];
    put(folder.path(), "future.bars", "1|future\n", 100 * 365 * 24 * 3600);
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() - 1_700_000_000;
    put(folder.path(), "a.bars", "2|now\n", now_s - 60);
    let mut checkpoint = Checkpoint::default();
    let mut run = Run::one(folder.path(), &age);
    assert_eq!(run.all(), ["2|now", "1|future"]);
    run.mark(&mut checkpoint);
    put(folder.path(), "b.bars", "3|now\n", now_s - 60);
    assert_eq!(run.all(), ["3|now"]);
    let mut later = Run::start(factory(folder.path(), &age).as_ref(), 1, &checkpoint).unwrap();
    assert_eq!(later.all(), ["3|now"]);
}

#[test]
fn files_are_cleaned_up_once_that_is_durable() {
    let outside = TempDir::new().unwrap();
    let (folder, archive) = (outside.path().join("in"), outside.path().join("done"));
    let archiving: [(&str, &str); 2] = [
        ("cleanSource", "archive"),
        ("sourceArchiveDir", Box::leak(archive.to_str().unwrap().to_owned().into())),
    ];
    put(&folder, "k=1/a.bars", "1|a\n", 1);
    put(&folder, "b.bars", "2|b\n3|b\n", 2);
    let mut checkpoint = Checkpoint::default();
    let mut run = Run::one(&folder, &archiving);
    assert_eq!(run.free(2, 1).unwrap(), ["1|a", "2|b"]);
    assert_eq!(tree(&folder), ["b.bars", "k=1/a.bars"]);
    run.mark(&mut checkpoint);
    assert_eq!((tree(&folder), tree(&archive)), (vec!["b.bars".to_owned()], vec!["k=1/a.bars".to_owned()]));
    // The end of b is durable, but the process dies before the file is moved.
    assert_eq!(run.until(1), ["3|b"]);
    run.free(2, 1).unwrap();
    checkpoint.offsets = run.sources[0].offsets();
    checkpoint.store(0, run.sources[0].snapshot().unwrap());
    let mut later = Run::start(factory(&folder, &archiving).as_ref(), 1, &checkpoint).unwrap();
    later.mark(&mut checkpoint);
    assert!(tree(&folder).is_empty(), "{:?}", tree(&folder));
    let deleting = [("cleanSource", "delete")];
    put(&folder, "c.bars", "4|c\n", 3);
    let mut run = Run::one(&folder, &deleting);
    assert_eq!(run.all(), ["4|c"]);
    run.mark(&mut Checkpoint::default());
    assert!(tree(&folder).is_empty());
}

#[test]
fn a_file_that_came_later_under_the_name_of_one_that_was_read_is_not_cleaned_up() {
    let folder = TempDir::new().unwrap();
    let deleting = [("cleanSource", "delete")];
    put(folder.path(), "a.bars", "1|a\n", 1);
    put(folder.path(), "b.bars", "2|b\n", 2);
    let mut checkpoint = Checkpoint::default();
    let mut run = Run::one(folder.path(), &deleting);
    assert_eq!(run.all(), ["1|a", "2|b"]);
    // Replaced before the epoch is durable.
    put(folder.path(), "b.bars", "3|new\n", 3);
    run.mark(&mut checkpoint);
    assert_eq!(tree(folder.path()), ["b.bars"]);
    // Replaced after it was cleaned up, and met again by a later look and after a restart.
    put(folder.path(), "a.bars", "4|new\n", 4);
    assert!(run.all().is_empty(), "a file is read once, under the name it had");
    run.mark(&mut checkpoint);
    let mut later = Run::start(factory(folder.path(), &deleting).as_ref(), 1, &checkpoint).unwrap();
    assert!(later.all().is_empty());
    later.mark(&mut checkpoint);
    assert_eq!(tree(folder.path()), ["a.bars", "b.bars"]);
}

#[test]
fn bad_records_are_set_aside_once_each() {
    let outside = TempDir::new().unwrap();
    let (folder, bad) = (outside.path().join("in"), outside.path().join("bad"));
    let more = [("badRecordsPath", bad.to_str().unwrap())];
    put(&folder, "a.bars", "1|a\nx|b\n3|c\ny|\"d\"\n5|e\n", 1);
    put(&folder, "k=1/a.bars", "z|a\n", 2);
    let lines = |name: &str| fs::read_to_string(bad.join(name)).unwrap();
    let mut checkpoint = Checkpoint::default();
    let mut run = Run::one(&folder, &more);
    run.mark(&mut checkpoint);
    assert_eq!(run.until(6).len(), 6);
    let names = tree(&bad);
    assert_eq!(names.len(), 2, "files of one name do not share: {names:?}");
    assert!(names.iter().all(|name| name.starts_with("a.bars-") && name.ends_with(".jsonl")));
    let texts: Vec<String> = names.iter().map(|name| lines(name)).collect();
    let whole = texts.iter().find(|text| text.lines().count() == 2).unwrap();
    let first: serde_json::Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["line"], &first["text"], &first["reason"]),
        (&2.into(), &"x|b".into(), &"`x` is no number".into())
    );
    assert!(first["file"].as_str().unwrap().ends_with("in/a.bars"));
    // After a crash the files are read again; a record half written is completed.
    let torn: PathBuf = bad.join(&names[0]);
    let text = fs::read(&torn).unwrap();
    fs::write(&torn, &text[..text.len() - 3]).unwrap();
    let mut again = Run::start(factory(&folder, &more).as_ref(), 1, &checkpoint).unwrap();
    assert_eq!(again.until(6).len(), 6);
    assert_eq!(names.iter().map(|name| lines(name)).collect::<Vec<_>>(), texts);
}

#[test]
fn files_of_one_name_may_count_as_one() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "k=1/a.bars", "1|a\n", 1);
    put(folder.path(), "k=2/a.bars", "2|a\n", 2);
    assert_eq!(Run::one(folder.path(), &[]).all().len(), 2);
    let name_only = [("fileNameOnly", "true")];
    assert_eq!(Run::one(folder.path(), &name_only).all().len(), 1);
}

#[test]
fn rows_read_before_a_restart_are_passed_over_some_at_a_time() {
    let folder = TempDir::new().unwrap();
    let lines: String = (0..400_000).map(|n| format!("{n}|a\n")).collect();
    put(folder.path(), "a.bars", &lines, 0);
    let mut source = factory(folder.path(), &[]).create(Instance::ONLY).unwrap();
    let before = Offsets(BTreeMap::from([("a.bars".to_owned(), 399_990)]));
    source.start(&before).unwrap();
    let (mut polls, mut rows) = (0, Vec::new());
    while rows.len() < 10 {
        polls += 1;
        let request = PollRequest { max_rows: 100, until: None, waker: Waker::noop() };
        match source.poll(request).unwrap() {
            Polled::Batch(mut batch) => rows.extend(lines_of(&batch.split_front(usize::MAX))),
            // What was returned stays so in a checkpoint while rows are passed over.
            _ => assert_eq!(source.offsets().get("a.bars"), Some(399_990)),
        }
    }
    assert_eq!(rows, (399_990..400_000).map(|n| format!("{n}|a")).collect::<Vec<_>>());
    assert!(polls >= 3, "one poll passed over all of 400,000 rows");
}

#[test]
fn a_table_knows_the_folders_it_reads() {
    let root = TempDir::new().unwrap();
    let path = |name: &str| root.path().join(name);
    put(root.path(), "in/k=1/a.bars", "1|a\n", 0);
    let request =
        |more: &[(&str, &str)]| ReadRequest { options: options(&path("in"), more), schema: Some(schema()) };
    let stream = |more| FilesFormat::new(Bars).stream(&request(more)).unwrap();
    for (folder, reads, recursive) in [
        ("in", true, true),
        ("in/../in", true, true),
        ("in/k=1/j=2", true, true),
        ("in/out", false, true),
        ("out", false, false),
        ("in2", false, false),
        ("", false, false),
    ] {
        assert_eq!(stream(&[]).reads(&path(folder)), reads, "{folder}");
        assert_eq!(stream(&[("recursiveFileLookup", "true")]).reads(&path(folder)), recursive, "{folder}");
    }
    let bounded = FilesFormat::new(Bars).bounded(&request(&[])).unwrap();
    assert!(bounded.reads(&path("in")) && bounded.reads(&path("in/k=1")));
    assert!(!bounded.reads(&path("in/k=2")) && !bounded.reads(root.path()));
}
