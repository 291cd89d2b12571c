//! Folders of files as tables: listing, the stream of new files, bounded reads, the exactly-once sink.
