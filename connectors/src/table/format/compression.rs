//! Compression of text files: by the file's extension on reading, by option on writing.

use crate::error::{ConnectorError, Result};
use crate::limits::FILE_BUFFER_BYTES;
use crate::table::{OptionSpec, Options};
use bzip2::read::MultiBzDecoder;
use bzip2::write::BzEncoder;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

/// The option that chooses the compression of what is written.
pub(super) const COMPRESSION: OptionSpec =
    OptionSpec::new("compression", "none", "compression of the files: none, gzip, zstd or bzip2");

/// Endings of compressed files that are not understood. Better an error than bad records.
const UNREADABLE: [&str; 8] = ["snappy", "lz4", "xz", "br", "deflate", "zip", "lzo", "7z"];

/// How the bytes of a file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
}

impl Compression {
    /// What the options ask for.
    pub(super) fn of(options: &Options) -> Result<Self> {
        let parsed = options.parsed(COMPRESSION.name, "none, gzip, zstd or bzip2", |value| {
            Some(match value.to_ascii_lowercase().as_str() {
                "none" | "uncompressed" => Compression::None,
                "gzip" | "gz" => Compression::Gzip,
                "zstd" | "zst" => Compression::Zstd,
                "bzip2" | "bz2" => Compression::Bzip2,
                _ => return None,
            })
        })?;
        Ok(parsed.unwrap_or(Compression::None))
    }

    /// What is appended to the name of a file.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
            Compression::Bzip2 => ".bz2",
        }
    }
}

/// Opens a file for reading and unpacks it as its extension says.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    let failed = |error: io::Error| ConnectorError::external(format!("open {}", path.display()), error);
    let extension = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    let extension = extension.as_deref().unwrap_or_default();
    if UNREADABLE.contains(&extension) {
        return Err(ConnectorError::user(format!(
            "{}: files ending in .{extension} cannot be unpacked: .gz, .zst and .bz2 can",
            path.display()
        )));
    }
    let file = File::open(path).map_err(failed)?;
    Ok(match extension {
        "gz" | "gzip" => Box::new(MultiGzDecoder::new(BufReader::new(file))),
        "zst" | "zstd" => Box::new(zstd::stream::read::Decoder::new(file).map_err(failed)?),
        "bz2" => Box::new(MultiBzDecoder::new(BufReader::new(file))),
        _ => Box::new(file),
    })
}

/// A file that counts what it was given.
struct Counted {
    file: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

enum Inner {
    None(BufWriter<Counted>),
    Gzip(GzEncoder<Counted>),
    Zstd(zstd::stream::write::Encoder<'static, Counted>),
    Bzip2(BzEncoder<Counted>),
}

/// A file being written, compressed.
pub(super) struct Encoder(Inner);

impl Encoder {
    /// Writes to `file`, which is empty.
    pub(super) fn new(compression: Compression, file: File) -> Result<Self> {
        let file = Counted { file, bytes: 0 };
        Ok(Encoder(match compression {
            Compression::None => Inner::None(BufWriter::with_capacity(FILE_BUFFER_BYTES, file)),
            Compression::Gzip => Inner::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL);
                Inner::Zstd(encoder.map_err(|error| ConnectorError::external("begin a zstd file", error))?)
            }
            Compression::Bzip2 => Inner::Bzip2(BzEncoder::new(file, bzip2::Compression::default())),
        }))
    }

    /// About how many bytes the file has. What a compressor still holds is not counted.
    pub(super) fn bytes(&self) -> u64 {
        match &self.0 {
            Inner::None(file) => file.get_ref().bytes + file.buffer().len() as u64,
            Inner::Gzip(file) => file.get_ref().bytes,
            Inner::Zstd(file) => file.get_ref().bytes,
            Inner::Bzip2(file) => file.get_ref().bytes,
        }
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.0 {
            Inner::None(file) => file.write_all(bytes),
            Inner::Gzip(file) => file.write_all(bytes),
            Inner::Zstd(file) => file.write_all(bytes),
            Inner::Bzip2(file) => file.write_all(bytes),
        };
        written.map_err(|error| ConnectorError::external("write to a file", error))
    }

    /// Ends the file; all bytes are handed to the operating system.
    pub(super) fn finish(self) -> Result<File> {
        let finished = match self.0 {
            Inner::None(file) => file.into_inner().map_err(io::IntoInnerError::into_error),
            Inner::Gzip(file) => file.finish(),
            Inner::Zstd(file) => file.finish(),
            Inner::Bzip2(file) => file.finish(),
        };
        Ok(finished.map_err(|error| ConnectorError::external("end a file", error))?.file)
    }
}
