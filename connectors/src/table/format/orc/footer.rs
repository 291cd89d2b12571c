//! The lengths and references in an ORC file, checked before the library follows them: a type that is its own
//! child would overflow the stack, and a length beyond the end of the file allocate memory without end.

use super::wire::{Message, Value, impossible, numbers, put, varint};
use crate::limits::{ORC_FOOTER_BYTES, ORC_TYPE_DEPTH};
use orc_rust::compression::{Compression, Decompressor};
use orc_rust::reader::ChunkReader;
use orc_rust::reader::metadata::read_metadata;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

/// A stripe: where it begins and the bytes of its parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stripe {
    pub(super) offset: u64,
    pub(super) index: u64,
    pub(super) data: u64,
    pub(super) footer: u64,
    pub(super) rows: u64,
}

impl Stripe {
    fn decode(message: &[u8]) -> io::Result<Stripe> {
        let [offset, index, data, footer, rows] = numbers(message, [1, 2, 3, 4, 5])?;
        Ok(Stripe { offset, index, data, footer, rows })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = Vec::new();
        for (number, value) in (1..).zip([self.offset, self.index, self.data, self.footer, self.rows]) {
            put(number, &Value::Number(value), &mut message);
        }
        message
    }
}

/// What is at the end of a file.
pub(super) struct Tail {
    pub(super) postscript: Vec<u8>,
    /// Not compressed.
    pub(super) footer: Vec<u8>,
    footer_start: u64,
    pub(super) compression: Option<Compression>,
}

impl Tail {
    /// Reads the end of a file of `size` bytes, at least one.
    ///
    /// # Errors
    /// If it is cut short or garbled.
    pub(super) fn read(file: &mut (impl Read + Seek), size: u64) -> io::Result<Tail> {
        let postscript_size = u64::from(read(file, size - 1, 1)?[0]);
        let postscript_start = (size - 1).checked_sub(postscript_size);
        let postscript_start = postscript_start.ok_or_else(|| impossible("its end is cut short"))?;
        let postscript = read(file, postscript_start, postscript_size)?;
        let [footer_size, kind, block, metadata_size] = numbers(&postscript, [1, 2, 3, 5])?;
        let footer_start = postscript_start.checked_sub(footer_size);
        let footer_start = footer_start.filter(|start| metadata_size <= *start);
        let footer_start = footer_start.ok_or_else(|| impossible("its footer is cut short"))?;
        let compression = compression(kind, block)?;
        let footer = unpack(read(file, footer_start, footer_size)?, compression)?;
        Ok(Tail { postscript, footer, footer_start, compression })
    }

    pub(super) fn stripes(&self) -> io::Result<Vec<Stripe>> {
        let stripes = Message(&self.footer).filter_map(|field| match field {
            Ok((3, Value::Bytes(stripe))) => Some(Stripe::decode(stripe)),
            Ok(_) => None,
            Err(cause) => Some(Err(cause)),
        });
        stripes.collect()
    }
}

/// Makes sure that what the footers of a file of `size` bytes say is possible.
///
/// # Errors
/// What is not.
pub(super) fn check(mut file: &File, size: u64) -> io::Result<()> {
    let tail = Tail::read(&mut file, size)?;
    let mut types = Vec::new();
    for field in Message(&tail.footer) {
        if let (4, Value::Bytes(kind)) = field? {
            types.push(children(kind)?);
        }
    }
    check_types(&types)?;
    let stripes = tail.stripes()?;
    let [rows] = numbers(&tail.footer, [6])?;
    let sum = stripes.iter().try_fold(0_u64, |sum, stripe| sum.checked_add(stripe.rows));
    if sum != Some(rows) {
        return Err(impossible("its stripes do not have as many rows as it says"));
    }
    stripes.iter().try_for_each(|stripe| check_stripe(file, stripe, &tail))
}

fn read(file: &mut (impl Read + Seek), offset: u64, size: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(impossible("it is cut short")) }
}

fn unpack(bytes: Vec<u8>, compression: Option<Compression>) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    Decompressor::new(bytes.into(), compression, Vec::new())
        .take(ORC_FOOTER_BYTES)
        .read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

/// Every type but the root is the child of one that comes before it, once.
fn check_types(types: &[Vec<u64>]) -> io::Result<()> {
    let mut depths = vec![0; types.len()];
    for (parent, children) in types.iter().enumerate() {
        for &child in children {
            let place = usize::try_from(child).ok().filter(|child| (parent + 1..types.len()).contains(child));
            let Some(place) = place.filter(|place| depths[*place] == 0) else {
                return Err(impossible("its types do not form a tree"));
            };
            depths[place] = depths[parent] + 1;
            if depths[place] > ORC_TYPE_DEPTH {
                return Err(impossible("its types are nested too deeply"));
            }
        }
    }
    Ok(())
}

fn check_stripe(mut file: &File, stripe: &Stripe, tail: &Tail) -> io::Result<()> {
    let room = stripe.index.checked_add(stripe.data);
    let footer_start = room.and_then(|room| stripe.offset.checked_add(room));
    let end = footer_start.and_then(|start| start.checked_add(stripe.footer));
    let (Some(mut room), Some(footer_start), Some(true)) =
        (room, footer_start, end.map(|end| end <= tail.footer_start))
    else {
        return Err(impossible("a stripe goes beyond its end"));
    };
    let footer = unpack(read(&mut file, footer_start, stripe.footer)?, tail.compression)?;
    for field in Message(&footer) {
        match field? {
            (1, Value::Bytes(stream)) => {
                let [length] = numbers(stream, [3])?;
                let left = room.checked_sub(length);
                room = left.ok_or_else(|| impossible("a stream is longer than its stripe"))?;
            }
            (2, Value::Bytes(encoding)) => {
                let [dictionary] = numbers(encoding, [2])?;
                if dictionary > stripe.rows.max(stripe.data.saturating_mul(1024)) {
                    return Err(impossible("a dictionary is larger than its stripe"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The compression of a file. The library makes one only from a file that it reads: this is one without
/// columns and rows.
fn compression(kind: u64, block: u64) -> io::Result<Option<Compression>> {
    if kind == 0 {
        return Ok(None);
    }
    let (1..=5, 0..=0x7f_ffff) = (kind, block) else {
        return Err(impossible("its compression is unknown"));
    };
    // A block header (4 bytes, not compressed), then a footer with one type, a struct.
    let mut file = vec![9, 0, 0, 0x22, 2, 8, 12];
    let mut postscript = vec![0x08, 7, 0x10, kind as u8, 0x28, 0];
    if block > 0 {
        postscript.push(0x18);
        postscript.extend((0..4).map(|group| {
            let more = if group < 3 { 0x80 } else { 0 };
            (block >> (7 * group)) as u8 & 0x7f | more
        }));
    }
    file.extend(&postscript);
    file.push(postscript.len() as u8);
    let metadata = read_metadata(&mut InMemory::new(file)).map_err(|cause| impossible(&cause.to_string()))?;
    Ok(metadata.compression())
}

/// A file in memory; its clones share it.
#[derive(Debug, Clone)]
pub(super) struct InMemory(Arc<Vec<u8>>);

impl InMemory {
    pub(super) fn new(bytes: Vec<u8>) -> InMemory {
        InMemory(Arc::new(bytes))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        Arc::unwrap_or_clone(self.0)
    }
}

/// The bytes of [`InMemory`].
#[derive(Debug)]
pub(super) struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl ChunkReader for InMemory {
    type T = Cursor<Shared>;

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn get_read(&self, offset: u64) -> io::Result<Self::T> {
        let mut reader = Cursor::new(Shared(Arc::clone(&self.0)));
        reader.set_position(offset);
        Ok(reader)
    }
}

/// The children of a type: field 2, one by one or packed.
fn children(kind: &[u8]) -> io::Result<Vec<u64>> {
    let mut children = Vec::new();
    for field in Message(kind) {
        match field? {
            (2, Value::Number(child)) => children.push(child),
            (2, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    children.push(varint(&mut packed)?);
                }
            }
            _ => {}
        }
    }
    Ok(children)
}
