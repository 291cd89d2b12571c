//! Folders of files, as bounded tables and as streams.

use crate::data::{self, FORMATS};
use crate::queries::Case;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use lotic::testing::Random;
use lotic::{DataFrame, OutputMode, Session, StreamingQuery, Trigger};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
type Options = Vec<(&'static str, &'static str)>;

/// A folder of files of one format.
struct Folder {
    view: &'static str,
    format: &'static str,
    /// What its files are written and read with.
    options: Options,
    path: PathBuf,
    files: Vec<PathBuf>,
}

pub(crate) struct World {
    pub(crate) schema: SchemaRef,
    session: Session,
    folders: Vec<Folder>,
    dimension: Folder,
    files_max: Option<usize>,
    name: String,
    root: TempDir,
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formats: Vec<&str> = self.folders.iter().map(|folder| folder.format).collect();
        let types: Vec<String> =
            self.schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        write!(f, "{formats:?} and {}, {types:?}", self.dimension.format)
    }
}

impl World {
    pub(crate) fn new(session: &Session, random: &mut Random, seed: u64) -> Outcome<World> {
        let formats = [*random.pick(&FORMATS), *random.pick(&FORMATS)];
        let mut world = World {
            schema: data::schema(random, &formats),
            session: session.clone(),
            folders: Vec::new(),
            dimension: Folder::new("d", random.pick::<&str>(&FORMATS), Path::new(""), random),
            files_max: random.once_in(2).then(|| 1 + random.below(3)),
            name: format!("case{seed}"),
            root: tempfile::tempdir()?,
        };
        for (view, format) in ["s", "t"].into_iter().zip(formats) {
            let mut folder = Folder::new(view, format, world.root.path(), random);
            for number in 0..random.below(5) {
                let count = random.below(15);
                let rows = data::rows(random, &world.schema, count);
                let file = folder.path.join(format!("{number}.{format}"));
                world.write(&rows, &folder, &file)?;
                folder.files.push(file);
            }
            world.folders.push(folder);
        }
        let id: Int64Array = (0..random.below(6)).map(|_| Some(random.below(5) as i64 - 2)).collect();
        let name: StringArray = (0..id.len()).map(|_| Some(*random.pick(&["a", "b", "zero"]))).collect();
        let columns = [("id", Arc::new(id) as ArrayRef, true), ("name", Arc::new(name) as ArrayRef, true)];
        let rows = RecordBatch::try_from_iter_with_nullable(columns)?;
        world.dimension.path = world.root.path().join("d");
        fs::create_dir(&world.dimension.path)?;
        let file = world.dimension.path.join(format!("0.{}", world.dimension.format));
        world.write(&rows, &world.dimension, &file)?;
        Ok(world)
    }

    /// Writes rows to a file, by way of a table in memory.
    fn write(&self, rows: &RecordBatch, folder: &Folder, file: &Path) -> Outcome<()> {
        let tables = self.session.memory_tables()?;
        let name = format!("{}_in", self.name);
        tables.create(&name, rows.schema(), 1)?.add(rows.clone())?;
        let frame = self.session.read().format("memory").option("name", &name).load();
        tables.remove(&name);
        let out = self.root.path().join("written");
        let writer = frame?.write().format(folder.format).options(folder.options.clone());
        writer.mode("overwrite").save(&out)?;
        let parts: Vec<PathBuf> = fs::read_dir(&out)?.map(|entry| entry.unwrap().path()).collect();
        match &parts[..] {
            [] => fs::write(file, "")?,
            [part] => fs::rename(part, file)?,
            more => return Err(format!("one write of one part has left {more:?}").into()),
        }
        Ok(())
    }

    /// The table of a folder that was made elsewhere with the same files.
    fn load(&self, folder: &Folder, path: &Path, streaming: bool) -> Outcome<DataFrame> {
        let reader = if streaming { self.session.read_stream() } else { self.session.read() };
        let reader = reader.format(folder.format).options(folder.options.clone());
        let reader = match (streaming, self.files_max) {
            (true, Some(files_max)) => reader.option("maxFilesPerTrigger", files_max),
            _ => reader,
        };
        let reader = if streaming { reader.option("pollInterval", "2 ms") } else { reader };
        Ok(reader.schema(Arc::clone(&self.schema)).load_path(path)?)
    }

    fn dimension(&self) -> Outcome<()> {
        let reader = self.session.read().format(self.dimension.format);
        let reader = reader.options(self.dimension.options.clone()).schema("id BIGINT, name STRING");
        Ok(reader.load_path(&self.dimension.path)?.create_or_replace_temp_view("d")?)
    }

    /// The answer of a bounded read.
    pub(crate) fn batch(&self, sql: &str) -> Outcome<Vec<RecordBatch>> {
        self.dimension()?;
        for folder in &self.folders {
            self.load(folder, &folder.path, false)?.create_or_replace_temp_view(folder.view)?;
        }
        Ok(self.session.sql(sql)?.collect()?)
    }

    /// Whether there is nothing to aggregate.
    pub(crate) fn has_no_rows(&self, sql: &str) -> bool {
        let (_, from) = sql.split_once(" FROM ").unwrap();
        let rows = self.batch(&format!("SELECT 1 FROM {from}")).unwrap();
        rows.iter().all(|batch| batch.num_rows() == 0)
    }

    /// What a stream shows that runs from one to three times, while the files arrive.
    pub(crate) fn stream(
        &self,
        case: &Case,
        continuous: bool,
        random: &mut Random,
    ) -> Outcome<Vec<RecordBatch>> {
        let place = tempfile::tempdir_in(self.root.path())?;
        let mut arrivals = Vec::new();
        self.dimension()?;
        for folder in &self.folders {
            let path = place.path().join(folder.view);
            fs::create_dir(&path)?;
            self.load(folder, &path, true)?.create_or_replace_temp_view(folder.view)?;
            arrivals.extend(folder.files.iter().map(|file| (file.clone(), path.clone())));
        }
        let frame = self.session.sql(&case.sql)?;
        let run = Run {
            name: format!("{}_{continuous}_out", self.name),
            format: sink(case, &frame, random),
            place: place.path(),
            case,
            continuous,
            frame,
        };
        let runs = 1 + random.below(3);
        for number in 1..=runs {
            run.once(&mut arrivals, number == runs, random)?;
        }
        run.shown(&self.session)
    }
}

impl Folder {
    fn new(view: &'static str, format: &'static str, root: &Path, random: &mut Random) -> Folder {
        let options = match format {
            "csv" if random.once_in(2) => vec![("header", "true")],
            "csv" => vec![("sep", "|")],
            _ => Vec::new(),
        };
        let path = root.join(format!("{view}_all"));
        if !root.as_os_str().is_empty() {
            fs::create_dir(&path).unwrap();
        }
        Folder { view, format, options, path, files: Vec::new() }
    }
}

/// Where the rows go: a table in memory, or files of a format that has their types.
fn sink(case: &Case, frame: &DataFrame, random: &mut Random) -> &'static str {
    let format = *random.pick(&["memory", "parquet", "csv", "json", "orc"]);
    if case.mode == OutputMode::Append && format != "memory" && data::holds(format, &frame.schema()) {
        format
    } else {
        "memory"
    }
}

/// A query that is run again and again.
struct Run<'a> {
    name: String,
    format: &'static str,
    place: &'a Path,
    case: &'a Case,
    continuous: bool,
    frame: DataFrame,
}

impl Run<'_> {
    fn start(&self, trigger: Trigger) -> Outcome<StreamingQuery> {
        let writer = self.frame.write_stream().format(self.format).output_mode(self.case.mode);
        let writer = match self.format {
            "memory" => writer.option("name", &self.name),
            _ => writer.option("path", self.place.join("out")),
        };
        let writer = writer.option("checkpointLocation", self.place.join("checkpoint"));
        Ok(writer.trigger(trigger).start()?)
    }

    /// Runs the query once, to a stop or to the end of what is there.
    fn once(&self, arrivals: &mut Vec<(PathBuf, PathBuf)>, last: bool, random: &mut Random) -> Outcome<()> {
        let some = random.below(arrivals.len() + 1);
        arrive(arrivals, some, random)?;
        if !self.continuous && random.once_in(3) {
            let some = if last { arrivals.len() } else { 0 };
            arrive(arrivals, some, random)?;
            return Ok(self.start(Trigger::AvailableNow)?.await_termination()?);
        }
        let trigger =
            if self.continuous { Trigger::continuous("2 ms") } else { Trigger::processing_time("0 ms") };
        let query = self.start(trigger)?;
        let some = if last { arrivals.len() } else { random.below(arrivals.len() + 1) };
        arrive(arrivals, some, random)?;
        // Without it a stop may come at any moment: what was not read is read in the next run.
        if last || random.once_in(2) {
            query.process_all_available()?;
        }
        Ok(query.stop()?)
    }

    /// The rows that a reader of the sink finds.
    fn shown(&self, session: &Session) -> Outcome<Vec<RecordBatch>> {
        let reader = session.read().format(self.format).schema(self.frame.schema());
        if self.format == "memory" {
            let rows = reader.option("name", &self.name).load()?.collect()?;
            session.memory_tables()?.remove(&self.name);
            return Ok(rows);
        }
        Ok(reader.load_path(self.place.join("out"))?.collect()?)
    }
}

/// Some files appear in their folders: as they are, or written just now.
fn arrive(arrivals: &mut Vec<(PathBuf, PathBuf)>, count: usize, random: &mut Random) -> Outcome<()> {
    for _ in 0..count {
        let (file, folder) = arrivals.swap_remove(random.below(arrivals.len()));
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if random.once_in(2) {
            fs::hard_link(&file, folder.join(&name))?;
        } else {
            fs::copy(&file, folder.join(format!(".{name}")))?;
            fs::rename(folder.join(format!(".{name}")), folder.join(&name))?;
        }
    }
    Ok(())
}
