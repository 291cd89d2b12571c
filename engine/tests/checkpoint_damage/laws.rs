//! What holds for any record.

use lotic::Mode;
use lotic::checkpoint::assemble::{Assembler, Part};
use lotic::checkpoint::record::{
    ChunkDelta, Frame, Frames, Handle, Header, Image, InstanceDelta, Plan, QueryIdentity, Record, TableDelta,
    write_frame,
};
use lotic::connectors::Offsets;
use lotic::operators::Epoch;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "count", "count#runtime", "ü"]).prop_map(str::to_owned)
}

fn table() -> impl Strategy<Value = TableDelta> {
    let chunks = btree_map(0u32..6, (any::<bool>(), vec(any::<u8>(), 0..5)), 0..4);
    (name(), any::<bool>(), chunks).prop_map(|(table, full, chunks)| {
        let chunk = |(number, (added, bytes))| match added {
            true => ChunkDelta::added(number, bytes),
            false => ChunkDelta::whole(number, bytes),
        };
        TableDelta { table, full, chunks: chunks.into_iter().map(chunk).collect() }
    })
}

/// As an operator gives them: each table once.
fn tables() -> impl Strategy<Value = Vec<TableDelta>> {
    vec(table(), 0..3).prop_map(|mut tables| {
        tables.sort_by(|one, other| one.table.cmp(&other.table));
        tables.dedup_by(|one, other| one.table == other.table);
        tables
    })
}

/// As a run gives them: each instance of an operator once, all of one parallelism.
fn deltas() -> impl Strategy<Value = Vec<InstanceDelta>> {
    btree_map((name(), 0u32..3), tables(), 0..4).prop_map(|deltas| {
        let delta =
            |((operator, instance), tables)| InstanceDelta { operator, instance, parallelism: 3, tables };
        deltas.into_iter().map(delta).collect()
    })
}

fn handle() -> impl Strategy<Value = Handle> {
    (name(), any::<u64>(), vec(any::<u8>(), 0..20)).prop_map(|(sink, epoch, bytes)| Handle {
        sink,
        epoch: Epoch(epoch),
        bytes,
    })
}

fn record() -> impl Strategy<Value = Record> {
    let mode = prop::sample::select(vec![Mode::Continuous, Mode::MicroBatch]);
    (any::<u64>(), mode, any::<i64>(), deltas(), vec(handle(), 0..3)).prop_map(
        |(epoch, mode, written_micros, deltas, handles)| Record {
            epoch: Epoch(epoch),
            mode,
            written_micros,
            deltas,
            handles,
        },
    )
}

fn offsets() -> impl Strategy<Value = Offsets> {
    btree_map(name(), any::<u64>(), 0..3).prop_map(Offsets)
}

fn frame() -> impl Strategy<Value = Frame> {
    let query =
        (name(), btree_map(name(), name(), 0..3)).prop_map(|(id, operators)| QueryIdentity { id, operators });
    let continues = prop::option::of((any::<u64>(), any::<u64>().prop_map(Epoch)));
    let header =
        (any::<u32>(), query, continues, any::<u64>()).prop_map(|(version, query, continues, seen)| {
            Frame::Header(Header { version, query, continues, seen: Epoch(seen), repeats: 0 })
        });
    let plan = (any::<u64>(), btree_map(name(), offsets(), 0..3))
        .prop_map(|(epoch, ends)| Frame::Plan(Plan { epoch: Epoch(epoch), ends }));
    prop_oneof![header, record().prop_map(Frame::Checkpoint), plan]
}

proptest! {
    #[test]
    fn frames_are_read_as_they_were_written(frames in vec(frame(), 0..5), torn in 1usize..40) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for frame in &frames {
            write_frame(frame, &mut bytes);
            ends.push(bytes.len());
        }
        let mut reader = Frames::new(&bytes);
        prop_assert_eq!(reader.by_ref().collect::<Vec<_>>(), frames.clone());
        prop_assert_eq!(reader.position(), bytes.len());
        let left = bytes.len().saturating_sub(torn);
        let whole = ends.iter().filter(|end| **end <= left).count();
        prop_assert_eq!(Frames::new(&bytes[..left]).collect::<Vec<_>>(), frames[..whole].to_vec());
    }

    #[test]
    fn any_bytes_can_be_read_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        let mut reader = Frames::new(&bytes);
        let _ = reader.version();
        let _ = reader.by_ref().count();
        prop_assert!(reader.position() <= bytes.len());
        // The same behind a checksum that holds.
        let mut sealed = (bytes.len() as u32).to_le_bytes().to_vec();
        sealed.extend(crc32(&bytes).to_le_bytes());
        sealed.extend(&bytes);
        let _ = Frames::new(&sealed).count();
        let _ = Frames::new(&sealed).version();
    }

    #[test]
    fn an_image_is_what_its_record_makes_of_nothing(records in vec(record(), 0..5)) {
        let mut image = Image::default();
        records.into_iter().for_each(|record| image.apply(record));
        let mut again = Image::default();
        again.apply(image.clone().into_record(Mode::Continuous, 0));
        prop_assert_eq!(again, image);
    }

    #[test]
    fn giving_up_epochs_changes_no_later_image(
        epochs in vec((deltas(), any::<bool>()), 1..8),
    ) {
        let (mut each, mut some) = (Image::default(), Image::default());
        let mut assembler = Assembler::default();
        for (at, (deltas, durable)) in epochs.into_iter().enumerate() {
            let epoch = Epoch(at as u64 + 1);
            let record =
                Record { epoch, mode: Mode::Continuous, written_micros: 0, deltas: deltas.clone(), handles: Vec::new() };
            each.apply(record);
            for delta in deltas {
                assembler.add(epoch, Part { deltas: vec![delta], handles: Vec::new() });
            }
            if durable {
                some.apply(assembler.record(epoch, Mode::Continuous, 0));
                assembler.persisted(epoch);
                prop_assert_eq!(&some, &each);
            }
        }
    }
}

/// CRC-32 as zip and Ethernet have it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn an_absurd_length_behind_a_good_checksum_allocates_nothing() {
    // A checkpoint of epoch 1 with 2^62 changes.
    let mut payload = vec![1, 1, 0, 0];
    payload.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40]);
    let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
    bytes.extend(crc32(&payload).to_le_bytes());
    bytes.extend(&payload);
    assert!(Frames::new(&bytes).next().is_none());
    // A frame that claims four gigabytes.
    let claims = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 2, 3];
    assert!(Frames::new(&claims).next().is_none());
}
