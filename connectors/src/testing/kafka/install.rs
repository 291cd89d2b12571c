//! Fetches Apache Kafka once, into a folder under the target directory.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version of the broker: the newest of the 4.1 line, which runs on Java 17.
const VERSION: &str = "4.1.2";

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoBroker {
    /// A program that it takes is not installed.
    #[error("it takes {0}")]
    NotInstalled(&'static str),
    /// It should have worked.
    #[error("{0}")]
    Failed(String),
}

impl NoBroker {
    pub(super) fn failed(what: &str, cause: impl std::fmt::Display) -> NoBroker {
        NoBroker::Failed(format!("{what}: {cause}"))
    }
}

/// The folder for all that test brokers write: under the target directory of cargo.
pub(super) fn folder() -> Result<PathBuf, NoBroker> {
    let folder = target().join("kafka-broker");
    fs::create_dir_all(&folder).map_err(|error| NoBroker::failed("no folder for the test broker", error))?;
    Ok(folder)
}

fn target() -> PathBuf {
    if let Some(target) = env::var_os("CARGO_TARGET_DIR") {
        return target.into();
    }
    // Cargo marks its target directory with this file.
    let program = env::current_exe().unwrap_or_default();
    let marked = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    marked.map_or_else(env::temp_dir, Path::to_path_buf)
}

/// The class path of the broker, fetched if it is not there yet.
pub(super) fn class_path() -> Result<String, NoBroker> {
    if !runs("java", "-version") {
        return Err(NoBroker::NotInstalled("a JDK (no `java` on the path)"));
    }
    let folder = folder()?;
    let home = folder.join(format!("kafka-{VERSION}"));
    let complete = home.join("complete");
    if !complete.exists() {
        if !runs("mvn", "-version") {
            return Err(NoBroker::NotInstalled("Maven (no `mvn` on the path)"));
        }
        // One of the test processes fetches, the others wait for it.
        let lock = File::create(folder.join("lock"));
        let lock = lock.and_then(|lock| lock.lock().map(|()| lock));
        let _lock =
            lock.map_err(|error| NoBroker::failed("the test broker's folder cannot be locked", error))?;
        if !complete.exists() {
            fetch(&home)?;
            File::create(&complete).map_err(|error| NoBroker::failed("no mark", error))?;
        }
    }
    Ok(format!("{}/libs/*", home.display()))
}

fn runs(program: &str, argument: &str) -> bool {
    let status = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn fetch(home: &Path) -> Result<(), NoBroker> {
    fs::create_dir_all(home).map_err(|error| NoBroker::failed("no folder for Apache Kafka", error))?;
    let project = format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>lotic</groupId>
  <artifactId>test-broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.3</version>
    </dependency>
  </dependencies>
</project>
"#
    );
    let file = home.join("pom.xml");
    fs::write(&file, project).map_err(|error| NoBroker::failed("no pom.xml", error))?;
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&file)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}/libs", home.display()))
        .output()
        .map_err(|error| NoBroker::failed("Maven does not run", error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Err(NoBroker::failed("Maven cannot fetch Apache Kafka", said))
}
