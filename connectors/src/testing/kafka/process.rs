//! The process of a test broker.

use super::install::{NoBroker, class_path, folder};
use super::security::{Certificates, Listener, Security};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a broker may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Runs a broker until its own input ends: so the broker dies with the process that started it, however that
/// one ends.
const KEEPER: &str =
    r#"log=$1; shift; "$@" >>"$log" 2>&1 & broker=$!; cat >/dev/null; kill -9 $broker; wait $broker"#;
/// Any identifier will do: no broker meets another.
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qk";

static COUNT: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
struct Running {
    keeper: Child,
    input: ChildStdin,
}

/// A broker of its own: its data, its port, and its process unless it was killed.
#[derive(Debug)]
pub(super) struct Process {
    home: PathBuf,
    /// Held while the data are in use.
    _lock: File,
    class_path: String,
    port: u16,
    listeners: Vec<(Listener, String)>,
    certificates: Option<Certificates>,
    running: Option<Running>,
}

impl Process {
    pub(super) fn start(security: &Security<'_>) -> Result<Process, NoBroker> {
        let class_path = class_path()?;
        let folder = folder()?;
        remove_old(&folder);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let home = folder.join(format!("data-{}-{number}", std::process::id()));
        let failed = |error| NoBroker::failed("no folder for the data of a broker", error);
        fs::create_dir_all(&home).map_err(failed)?;
        let lock =
            File::create(home.join("lock")).and_then(|lock| lock.lock().map(|()| lock)).map_err(failed)?;
        let certificates = if security.tls { Some(Certificates::make(&home)?) } else { None };
        let kinds = security.listeners();
        let ports = free_ports(2 + kinds.len()).map_err(|error| NoBroker::failed("no free port", error))?;
        let listeners: Vec<(Listener, u16)> = kinds.into_iter().zip(ports[2..].iter().copied()).collect();
        let properties = properties(&home, ports[0], ports[1], &listeners) + &security.properties(&home);
        fs::write(home.join("server.properties"), properties).map_err(failed)?;
        fs::write(home.join("log4j2.properties"), LOGGING).map_err(failed)?;
        let listeners = listeners.into_iter().map(|(kind, port)| (kind, address(port))).collect();
        let port = ports[0];
        let mut process =
            Process { home, _lock: lock, class_path, port, listeners, certificates, running: None };
        process.format(&security.format_arguments())?;
        process.restart()?;
        Ok(process)
    }

    pub(super) fn bootstrap(&self) -> String {
        address(self.port)
    }

    pub(super) fn listeners(&self) -> &[(Listener, String)] {
        &self.listeners
    }

    pub(super) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.home.join("broker.log")
    }

    fn java(&self) -> Vec<String> {
        let home = self.home.display();
        let arguments = [
            "java".to_owned(),
            "-Xms128m".to_owned(),
            "-Xmx512m".to_owned(),
            "-XX:+UseSerialGC".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            format!("-Dlog4j2.configurationFile={home}/log4j2.properties"),
            "-cp".to_owned(),
            self.class_path.clone(),
        ];
        arguments.into()
    }

    fn format(&self, more: &[String]) -> Result<(), NoBroker> {
        let java = self.java();
        let output = Command::new(&java[0])
            .args(&java[1..])
            .args(["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER, "-c"])
            .arg(self.home.join("server.properties"))
            .args(more)
            .output()
            .map_err(|error| NoBroker::failed("the storage of a broker cannot be formatted", error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(NoBroker::failed("the storage of a broker cannot be formatted", String::from_utf8_lossy(&said)))
    }

    /// Ends the process without warning.
    pub(super) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.input);
            drop(running.keeper.wait());
        }
    }

    /// Starts on the same data and port, and waits until it answers.
    pub(super) fn restart(&mut self) -> Result<(), NoBroker> {
        self.kill();
        let spawned = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(self.log())
            .args(self.java())
            .arg("kafka.Kafka")
            .arg(self.home.join("server.properties"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut keeper = spawned.map_err(|error| NoBroker::failed("a broker cannot be started", error))?;
        let input =
            keeper.stdin.take().ok_or_else(|| NoBroker::Failed("a broker has no input".to_owned()))?;
        self.running = Some(Running { keeper, input });
        self.wait_ready()
    }

    fn wait_ready(&self) -> Result<(), NoBroker> {
        if is_ready(&self.bootstrap(), READY_WITHIN) {
            return Ok(());
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let end: Vec<&str> = log.lines().rev().take(20).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        let what = format!("the broker was not ready within {READY_WITHIN:?}; {}", self.log().display());
        Err(NoBroker::failed(&what, end.join("\n")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        drop(fs::remove_dir_all(&self.home));
    }
}

/// Whether a broker answers within this time.
pub(super) fn is_ready(bootstrap: &str, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("reconnect.backoff.max.ms", "200");
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    let Ok(client) = config.create::<BaseConsumer>() else { return false };
    while Instant::now() < deadline {
        let metadata = client.fetch_metadata(None, Duration::from_millis(500));
        if metadata.is_ok_and(|metadata| !metadata.brokers().is_empty()) {
            return true;
        }
    }
    false
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Ports that are free now.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let bound: Result<Vec<TcpListener>, _> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    bound?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Removes what test processes left that were killed.
fn remove_old(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let home = entry.path();
        let Ok(lock) = File::open(home.join("lock")) else { continue };
        if entry.file_name().to_string_lossy().starts_with("data-") && lock.try_lock().is_ok() {
            drop(fs::remove_dir_all(home));
        }
    }
}

fn properties(home: &Path, port: u16, controller: u16, more: &[(Listener, u16)]) -> String {
    let home = home.display();
    let (addresses, protocols): (String, String) = more.iter().map(|(kind, port)| kind.at(*port)).unzip();
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{addresses}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}{addresses}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
         log.dirs={home}/logs\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=1\n\
         group.initial.rebalance.delay.ms=0\n\
         broker.heartbeat.interval.ms=200\n\
         broker.session.timeout.ms=1000\n\
         log.cleaner.dedupe.buffer.size=8388608\n\
         log.cleaner.backoff.ms=100\n\
         num.network.threads=2\n\
         num.io.threads=4\n\
         background.threads=2\n"
    )
}

const LOGGING: &str = "\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
";
