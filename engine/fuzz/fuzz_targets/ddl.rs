#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lotic_fuzz::ddl(bytes));
